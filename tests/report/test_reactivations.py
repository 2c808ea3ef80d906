"""What the report says of backdoors that are woken, beside their controls."""

import io
import re

import pytest
from rich.console import Console

from bdjax import report
from bdjax.report import reactivations, results, sequela, tables
from bdjax.report.load import load
from bdjax.report.results import CLEAN_MODEL


def woken(kind, defense, seed, reactivated, *, after=None, **found):
  """Returns an invented answer."""
  return {
    "cell": f"{kind}|{defense}|{after}|{seed}",
    **{"dataset": "cifar10", "model": "preact_resnet18"},
    **{"scenario": "standalone", "attack": "badnets"},
    **{"regime": "conventional", "defense": defense, "clean_defense": after},
    **{"seed": seed, "sequel": kind, "kind": kind},
    **{"device": "invented accelerator", "devices": 1},
    **{"asr_before": 0.04, "reactivated": reactivated, "untriggered": 0.1},
    **{"on_clean": 0.3} | found,
  }


def answers(seed):
  """Returns the answers of four models of a seed to both questions."""
  more = {"universal": 0.25, "bec": 0.5, "cka": 0.75}
  for kind, extra in (("reactivation", more), ("qra", {})):
    yield woken(kind, "ft", seed, 0.9 + 0.02 * seed, **extra)
    yield woken(kind, CLEAN_MODEL, seed, 0.3, after="ft", **extra)
    yield woken(kind, "none", seed, 1.0, **extra)
    yield woken(kind, CLEAN_MODEL, seed, 0.2, after="none", **extra)


@pytest.fixture
def run(tmp_path, fake):
  """Returns a run with answers of two seeds."""
  cells = [
    fake.record("badnets", "conventional", name, seed)
    for name in ("none", "ft")
    for seed in (0, 1)
  ]
  results.append(tmp_path / "results.jsonl", cells)
  found = [record for seed in (0, 1) for record in answers(seed)]
  path = tmp_path / "sequela.jsonl"
  results.append(path, found, required=results.SEQUEL)
  return load(tmp_path)


def test_a_row_stands_beside_its_controls(run):
  rows = sequela.rows(run, tables.pivot(run.records)[0])
  assert rows.leaks == rows.relapses == []
  assert [(r["sequel"], r["model"]) for r in rows.reactivations] == [
    (kind, model)
    for kind in ("qra", "reactivation")
    for model in (CLEAN_MODEL, "none", "ft", f"{CLEAN_MODEL}, ft")
  ]
  by = {(r["sequel"], r["model"]): r["values"] for r in rows.reactivations}
  names = reactivations.COLUMNS
  ft = dict(zip(names, by["reactivation", "ft"], strict=True))
  assert ft == {
    "ASR before": "4.0 ± 0.0",
    "re-activated": "91.0 ± 1.4",
    "re-activated, less clean": "61.0 ± 1.4",
    "without trigger": "10.0 ± 0.0",
    "universal": "25.0 ± 0.0",
    "on the clean model": "30.0 ± 0.0",
    "BEC": "50.0 ± 0.0",
    "CKA": "75.0 ± 0.0",
  }
  none = dict(zip(names, by["reactivation", "none"], strict=True))
  assert none[reactivations.LESS] == "80.0 ± 0.0"
  qra = dict(zip(names, by["qra", "ft"], strict=True))
  assert [qra[k] for k in ("universal", "BEC", "CKA")] == ["–"] * 3
  assert qra["re-activated, less clean"] == "61.0 ± 1.4"


def test_page_and_console_show_it(run):
  page = report.write(run).read_text()
  console = Console(file=io.StringIO(), width=160)
  report.show(run, console)
  said = re.sub(r"\s+", " ", console.file.getvalue())
  for text in ("What the defense left behind", *reactivations.COLUMNS):
    assert text in page, text
  for text in (reactivations.LESS, "BEC", "61.0 ± 1.4", "any model"):
    assert text in page and text in said, text
  assert "epoch with poisons" not in page
  console = Console(file=io.StringIO(), width=80)
  report.show(run, console)
  assert "50.0 ± 0.0" in console.file.getvalue()  # BEC, the last column
