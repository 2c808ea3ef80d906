"""A cleansing's page in a browser; skipped where there is no Chromium."""

from pathlib import Path

import numpy as np
import pytest

from bdjax.cleanse import measure, page, verdict
from bdjax.cleanse.audit import Audit
from bdjax.cleanse.measure import Share
from bdjax.cleanse.result import Result
from bdjax.cleanse.weights import Change

NAMES = ("airplane", "automobile", "a_rather_long_name_of_a_class")
LAYERS = ("conv1", "layer1.0.conv1", "layer4.1.shortcut.0", "linear")


def answers(right):
  """Returns those of a model that is right on so many of 50 a class."""
  wrong = (50 - right) // 2
  confusion = np.full((3, 3), wrong) + (right - wrong) * np.eye(3, dtype=int)
  return measure.Answers(confusion, np.array([20, 400, 80]), None)


def made(*, tried: bool) -> Result:
  """Returns a result with a flagged class, whose patches were tried or not."""
  mask = np.zeros((3, 8, 8, 1))
  mask[:, 2:4, 2:4] = 1.0
  sent = tuple(Share(hits, 100) for hits in (4, 95, 6))
  audit = Audit(
    norm=np.array([30.0, 4.0, 33.0]),
    index=np.array([0.7, 6.1, 0.0]),
    flagged=np.array([False, True, False]),
    reached=np.array([True, True, False]),
    mask=mask,
    pattern=np.full((3, 8, 8, 3), 0.8),
    images=400,
    before=sent if tried else (),
    after=sent[::2] + sent[:1] if tried else (),
  )
  share = Share(90, 100)
  return Result(
    out=Path("cleaned.safetensors"),
    report=Path("cleaned.html"),
    facts={"Model": "suspect.pt: preact_resnet18", "sha256": 64 * "a"},
    names=NAMES,
    defense="super_ft(batch_size=32, lr_max1=0.0375)",
    notes=("Batches were reduced from 256 to 32 images.",),
    before=answers(46),
    after=answers(44),
    taken=measure.Taken(1, share, Share(7, 100), (Share(8, 100), share)),
    audit=audit,
    doubt="",
    changes=tuple(Change(name, 0.3, 0.1, 2) for name in LAYERS),
    moved=0.25,
    seconds=321.0,
    budget=None if tried else 600.0,
    left_out=() if tried else ("Left out: trying the patches.",),
  )


@pytest.mark.parametrize(
  ("width", "dark", "tried"), [(390, False, True), (1280, True, False)]
)
def test_a_cleansings_page_obeys_the_rules_of_axe(
  tmp_path, beside, width, dark, tried
):
  browser = beside("browser")
  browser.chromium()
  result = made(tried=tried)
  path = tmp_path / "cleaned.html"
  path.write_text(page.render(result, verdict.of(result)), encoding="utf-8")
  browser.check(path, width=width, dark=dark)


def test_shares_stand_beside_what_is_usual():
  result = made(tried=True)
  text = page.render(result, verdict.of(result))
  assert "chance: 33.3 % (1 of 3 classes)" in text
  assert "without it: 4.0 % [1.6, 9.8] of 100" in text  # 2 of 50, twice
  assert "spread evenly it would be 167" in text  # of 500
  assert 'data-label="sent">95.0 → 6.0' in text


def test_a_page_says_what_the_budget_left_out_and_shows_none_of_it():
  result = made(tried=False)
  text = page.render(result, verdict.of(result))
  assert "321 seconds, of a budget of 600" in text
  assert "<li>Left out: trying the patches.</li>" in text
  assert 'data-label="sent"' not in text and "patch found for" not in text
