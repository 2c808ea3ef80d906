"""The section "Why": its words from numbers by hand, and its pictures."""
# ruff: noqa: D103

import json
import re

import numpy as np
import pytest

from bdjax import report
from bdjax.report import why, why_figures

ABOUT = {
  **{"planted": "p", "cell": "c", "dataset": "cifar10", "model": "cnn"},
  **{"attack": "badnets", "regime": "fmn", "defense": "ft", "seed": 0},
  **{"ca_before": 0.9, "asr_before": 1.0, "ca": 0.8, "asr": 0.25},
}
LINE = {
  "images": 50,
  "share": [0.0, 0.25, 0.5, 1.0],
  "clean_loss": [1.0, 2.0, 1.0, 3.0],
  "backdoor_loss": [0.0, 1.0, None, 4.0],
  "ca": [0.9, 0.7, 0.8, 0.8],
  "asr": [1.0, 0.5, 0.4, 0.6],
}
SURFACE = {
  "images": 20,
  "steps": [-1.0, 0.0, 1.0],
  "ca": [[0.5, 0.86, 0.5], [0.5, 0.9, 0.85], [0.1, 0.84, 0.1]],
  "asr": [[0.2, 0.4, 0.9], [0.9, 1.0, 0.5], [0.1, 0.2, 0.3]],
  "clean_loss": [[2.0, 0.5, 2.0], [2.0, 0.4, 0.6], [None, 0.7, 9.0]],
  "backdoor_loss": [[2.0, 0.5, 2.0], [2.0, 0.0, 0.6], [8.0, 0.7, 9.0]],
}


def tac(before, after, clean=(1.0, 2.0)):
  layer = {
    "layer": "layer4",
    "before": {"tac": before, "clean": [clean[0]] * len(before)},
    "after": {"tac": after, "clean": [clean[1]] * len(after)},
  }
  return {"images": 9, "layers": [layer]}


def features(classes):
  rng = np.random.default_rng(0)
  return {
    "classes": [f"k{i}" for i in range(classes)],
    "clean": rng.normal(size=(24, 2)).tolist(),
    "label": [i % classes for i in range(24)],
    "hit": rng.normal(size=(5, 2)).tolist(),
    "wanted": [0] * 5,
    "drawn_in": 0.4,
  }


def part(kind, numbers, **about):
  settings = {"images": 9, "embedding": "pca"}
  known = {"kind": kind, "about": ABOUT | about, "settings": settings}
  return known | {"numbers": numbers}


def test_line_by_hand():
  found = why.summary(part("line", LINE))
  # Straight from 1 to 3: 1.5 at .25, 2 at .5; so 2 - 1.5 is the highest.
  assert found == {"barrier": 0.5, "half": 0.5}
  assert why.words(part("line", LINE)) == (
    "the ASR is first below 50 % at 0.5 of the way; the clean loss rises 0.5 "
    "above its ends' line"
  )
  kept = {"asr": [1.0, 1.0, 0.9, 0.5], "clean_loss": [1.0, 1.5, 1.9, 3.0]}
  kept = part("line", LINE | kept)
  assert why.summary(kept) == {"barrier": 0, "half": None}
  assert why.words(kept) == (
    "the ASR nowhere falls below 50 %; the clean loss has no hill on the way"
  )


def test_surface_by_hand():
  found = why.summary(part("surface", SURFACE))
  # CA of .85 and more: three of nine, two of which have an ASR of .5 and more.
  assert found["near"] == pytest.approx(3 / 9)
  assert found["alive"] == pytest.approx(4 / 9)
  assert found["alive_near"] == pytest.approx(2 / 3)


def test_tac_by_hand():
  before = [1.0] * 18 + [10.0, 12.0]  # a tenth of 20 channels: the last two
  after = [1.0] * 18 + [2.0, 4.0]
  found = why.summary(part("tac", tac(before, after)))
  assert found["mean"] == [2.0, 1.2] and found["top"] == [11.0, 3.0]
  assert found["relative"] == [2.0, 0.6]
  assert found["layer"] == "layer4" and found["channels"] == 20
  dead = why.words(part("tac", tac([1.0], [0.0], clean=(1.0, 0.0))))
  assert dead.endswith("over the clean maps' norm 1 → –")


def test_too_few_images_to_tell_where_triggered_ones_lie_are_said():
  asked = part("features", features(4) | {"drawn_in": None})
  assert why.summary(asked) == {"drawn_in": None}
  assert "too few images" in why.words(asked)
  assert "--embedding_images" in why.words(asked)


PARTS = {
  "tac": tac([1.0, 3.0], [0.5, 1.0]),
  "line": LINE,
  "surface": SURFACE,
  "features": features(4),
}


@pytest.mark.parametrize("kind", why.KINDS)
def test_pictures_have_words_and_files(kind):
  panels = why.panels(part(kind, PARTS[kind]))
  assert panels and len({panel.name for panel in panels}) == len(panels)
  for panel in panels:
    assert panel.alt and panel.svg().startswith("<svg ")
    assert panel.png().startswith(b"\x89PNG")


def test_many_classes_share_a_colour():
  names = [f"k{i}" for i in range(12)]
  looks = why_figures._looks(list(range(12)), names, {3})
  assert [(len(group), words) for group, words, _ in looks] == [
    (11, "other classes"),
    (1, "wanted"),
  ]
  few = why_figures._looks([0, 2], names, {2})
  assert [words for _, words, _ in few] == ["k0", "k2 (target)"]
  assert why.panels(part("features", features(12)))[0].svg()


def test_the_page_has_a_group_for_each_model(workdir):
  folder = workdir / "analysis"
  folder.mkdir()
  hostile = '"><script>x</script>'
  for i, (kind, numbers) in enumerate(PARTS.items()):
    written = part(kind, numbers, defense=("none" if i > 1 else hostile))
    (folder / f"{kind}-a.json").write_text(json.dumps(written))
  (folder / "line-b.json").write_text('{"kind": ')
  (folder / "other.json").write_text('{"kind": "xyz"}')
  (group, repaired) = why.section(report.load(workdir))
  assert group["planted"] and group["title"] == "badnets, fmn, seed 0"
  assert group["rates"] == "ASR 100.0, CA 90.0"
  assert repaired["rates"] == "ASR 100.0, CA 90.0 → ASR 25.0, CA 80.0"
  page = report.write(workdir).read_text(encoding="utf-8")
  elements = re.findall("<svg [^>]*>", page)
  assert len(elements) >= 6
  assert {element.count(" aria-") for element in elements} == {1}
  assert hostile not in page and 'href="#why"' in page


def test_without_an_analysis_there_is_no_section(workdir):
  page = report.write(workdir).read_text(encoding="utf-8")
  assert 'id="why"' not in page and 'href="#why"' not in page
