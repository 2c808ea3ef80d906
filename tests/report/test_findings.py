"""What defenses found, in words and in pictures."""
# ruff: noqa: D103

import io

import numpy as np
import pytest
from rich.console import Console

from bdjax import report
from bdjax.report import findings, results
from bdjax.report.load import load

FILTER = {"removed": 40, "precision": 0.5, "recall": 0.8, "kept_poisons": 5}
INPUTS = {"auroc": 0.9, "tpr_at_1": 0.1, "tpr_at_5": 0.25, "tpr_at_10": 0.5}


def flags(*hits):
  return {"memo.flagged": [i in hits for i in range(5)], "verdict": 2.5}


@pytest.fixture
def cells(fake):
  """Returns the maker of two seeds' cells with findings."""

  def make(*found, defense="nc"):
    return [
      fake.record("badnets", "fmn", defense, seed, **more)
      for seed, more in enumerate(found)
    ]

  return make


def test_filters_in_words(cells):
  assert findings.words(cells(FILTER, FILTER | {"removed": 60})) == [
    "removed 50 training images: precision 50.0 ± 0.0, recall 80.0 ± 0.0, "
    "5 poisons left"
  ]


def test_detectors_of_inputs_in_words(cells):
  assert findings.words(cells(INPUTS)) == [
    "triggered inputs: AUROC 90.0, found 10.0 / 25.0 / 50.0 at 1 / 5 / 10 "
    "false alarms"
  ]


def test_detectors_of_models_in_words(cells):
  assert findings.words(cells(flags(0), flags(0, 3))) == [
    "evidence of a backdoor 2.50 ± 0.00; classes flagged: 0, 3 (1 of 2 seeds)"
  ]
  assert findings.words(cells(flags())) == [
    "evidence of a backdoor 2.50; no class flagged"
  ]


def test_repairs_alone_say_nothing(cells):
  assert findings.words(cells({})) == []
  assert findings.table(cells({})) == []


def test_unknown_precision_is_a_dash(cells):
  (text,) = findings.words(cells(FILTER | {"precision": None}))
  assert "precision –, recall 80.0" in text


def test_page_and_console_show_them(tmp_path, cells):
  made = cells(flags(4)) + cells(FILTER, defense="abl")
  results.append(tmp_path / "results.jsonl", made)
  (tmp_path / "findings").mkdir()
  np.savez(
    tmp_path / "findings" / f"{made[0]['cell']}.npz",
    trigger=np.zeros((5, 8, 8, 3), np.uint8),
  )
  page = report.write(tmp_path).read_text()
  assert "classes flagged: 4" in page
  assert "removed 40 training images" in page
  assert page.count("<img ") == 5
  assert "memo.flagged" not in page
  console = Console(file=io.StringIO(), width=100)
  report.show(tmp_path, console)
  assert "classes flagged: 4" in console.file.getvalue()


def test_flagged_classes_come_first(tmp_path, cells):
  (cell,) = cells(flags(4))
  results.append(tmp_path / "results.jsonl", [cell])
  (tmp_path / "findings").mkdir()
  np.savez(
    tmp_path / "findings" / f"{cell['cell']}.npz",
    trigger=np.zeros((5, 8, 8, 3), np.uint8),
  )
  (strip,) = findings.pictures(load(tmp_path))
  ((name, columns),) = strip["rows"]
  assert name == "trigger"
  assert [word for word, _ in columns] == ["4 (flagged)", "0", "1", "2", "3"]
