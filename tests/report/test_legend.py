"""The lines below a table explain the signs that it has, and no others."""

import io

import pytest
from rich.console import Console

from bdjax import report
from bdjax.report import results

SOUND = {"ca": 0.9, "asr": 0.1, "asr_before": 0.99}
SPREAD, FLOOR = "in brackets the 95 % interval", "and the floor, a clean model"
UNJUDGED = "A defense is not judged"


@pytest.fixture
def said(tmp_path):
  """Returns what is printed of records, in one line."""

  def show(records):
    results.append(tmp_path / "results.jsonl", records)
    text = io.StringIO()
    report.show(report.load(tmp_path), Console(file=text, width=100))
    return " ".join(text.getvalue().split())

  return show


def test_of_one_seed_without_a_floor(fake, said):
  text = said([fake.record("badnets", "fmn", "ft", 0, **SOUND)])
  assert "CA / ASR in percent" in text and "what guessing gives." in text
  assert not [sign for sign in (SPREAD, FLOOR, UNJUDGED) if sign in text]


def test_of_seeds_floors_and_what_is_not_judged(fake, said):
  sound = SOUND | {"clean_asr": 0.02}
  records = [
    fake.record("badnets", "fmn", "ft", seed, **sound) for seed in (0, 1)
  ]
  failed = fake.record("sig", "fmn", "ft", 0, **SOUND | {"asr_before": 0.3})
  text = said([*records, failed])
  assert [sign for sign in (SPREAD, FLOOR, UNJUDGED) if sign in text] == [
    *(SPREAD, FLOOR, UNJUDGED)
  ]
