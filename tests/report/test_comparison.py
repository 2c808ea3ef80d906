"""Work directories side by side: cells, differences, settings."""

import io
import json

import pytest
from rich.console import Console

from bdjax import report
from bdjax.report import comparison, results
from bdjax.study import overview


@pytest.fixture
def make(tmp_path, fake):
  """Return the maker of a work directory of one defense, by seed."""

  def made(name, asr, defense="ft", **config):
    folder = tmp_path / name
    folder.mkdir(parents=True)
    cells = [
      fake.record("badnets", "fmn", defense, seed, asr=value)
      for seed, value in asr.items()
    ]
    results.append(folder / "results.jsonl", cells)
    (folder / "config.json").write_text(json.dumps(config))
    return folder

  return made


def row_of(folders, defense="ft"):
  tables = [report.load(folder) for folder in folders]
  pivots = [comparison.tables.pivot(r.records, r.diverged)[0] for r in tables]
  (row,) = [r for r in comparison.rows(pivots) if r.defense == defense]
  return row


def test_seeds_are_compared_one_by_one(make):
  one = make("one", {0: 0.1, 1: 0.5, 2: 0.9})
  two = make("two", {0: 0.2, 1: 0.7, 3: 0.0})
  # Gaps of seeds 0 and 1: 10 and 20; t(.975; 1) = 12.7062, sd / sqrt(2) = 5.
  assert row_of([one, two]).less == ["", "+15.0 [-48.5, 78.5]"]
  alone = make("alone", {0: 0.3})  # to seed 0, not to the mean
  assert row_of([one, alone]).less == ["", "+20.0, no interval"]
  other = make("other", {5: 0.3})
  assert row_of([one, other]).less == ["", "no seed in both"]


def test_what_one_did_not_run_is_left_open(make):
  one, two = make("one", {0: 0.1}), make("two", {0: 0.1}, "nad")
  row = row_of([one, two], "nad")
  assert row.cells[0] is None and row.less == ["", ""]


def test_the_page_has_a_column_each_and_what_differs(make):
  lr = {"train": {"lr": 0.1, "epochs": 3}}
  one = make("one", {0: 0.1, 1: 0.2}, **lr)
  two = make("two", {0: 0.3, 1: 0.5}, train={"lr": 0.2, "epochs": 3})
  runs = [report.load(folder) for folder in (one, two)]
  assert comparison.names(runs) == ["one", "two"]
  assert comparison.settings(runs) == [("train.lr", ["0.1", "0.2"])]
  path = report.write_comparison(runs)
  assert path == one / "comparison.html"
  text = path.read_text()
  for part in ("15.0 ± 7.1", "40.0 ± 14.1", "+25.0 [-38.5, 88.5]", "train.lr"):
    assert part in text
  assert "epochs" not in text[text.index("What they differ in") :]


def test_folders_of_one_name_are_told_apart(make):
  runs = [report.load(make(f"{a}/run", {0: 0.1})) for a in "ab"]
  assert comparison.names(runs) == [str(run.workdir) for run in runs]


def test_report_of_several_folders_writes_it(make):
  console = Console(file=io.StringIO(), width=100)
  one, two = make("one", {0: 0.1}), make("two", {0: 0.1})
  overview.write([one], console)
  assert not (one / "comparison.html").exists()
  overview.write([one, two], console)
  assert f"comparison: {one / 'comparison.html'}" in console.file.getvalue()
