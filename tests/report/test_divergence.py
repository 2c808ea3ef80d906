"""Cells whose training diverged are counted beside the others."""
# ruff: noqa: D103

import io

import pytest
from rich.console import Console

from bdjax import report
from bdjax.report import divergence, results
from bdjax.report.load import load
from bdjax.report.tables import best, losses, pivot


def lost(fake, defense, seed, **changes):
  whole = fake.record("badnets", "fmn", defense, seed, **changes)
  keep = (*results.DIVERGED, "planted", *(k for k in whole if "axis" in k))
  return {k: whole[k] for k in keep} | {"reason": "diverged: invented"}


@pytest.fixture
def run(tmp_path, fake):
  """Return a run: two seeds of three lost, all of another, one come back."""
  records = [fake.record("badnets", "fmn", "none", s) for s in range(3)]
  records.append(fake.record("badnets", "fmn", "ft", 0))
  results.append(tmp_path / "results.jsonl", records)
  gone = [lost(fake, "ft", seed) for seed in (0, 1, 2, 2)]
  gone += [lost(fake, "ft(lr=9)", seed) for seed in range(3)]
  path = tmp_path / "diverged.jsonl"
  results.append(path, gone, required=results.DIVERGED)
  return load(tmp_path)


def test_a_result_that_came_later_counts(run):
  seeds = [(r["defense"], r["seed"]) for r in run.diverged]
  assert seeds == [
    *(("ft", 1), ("ft", 2)),
    *(("ft(lr=9)", seed) for seed in range(3)),
  ]
  group = ("cifar10", "preact_resnet18", "badnets", "fmn", "standalone")
  counts = {(*group, "ft"): 2, (*group, "ft(lr=9)"): 3}
  assert divergence.counted(run.diverged) == counts
  first, _ = divergence.words(run.diverged)
  assert first == f"{', '.join(group)}, ft: 2"


def test_a_run_without_any_says_nothing(tmp_path, fake):
  results.append(
    tmp_path / "results.jsonl", [fake.record("sig", "fmn", "ft", 0)]
  )
  run = load(tmp_path)
  assert run.diverged == [] and losses(pivot(run.records)[0]) == ""
  console = Console(file=io.StringIO(), width=100)
  report.show(run, console)
  assert "diverged" not in console.file.getvalue()


def test_they_are_beside_the_mean_or_in_its_place(run):
  (table,) = pivot(run.records, run.diverged)
  assert table.defenses == ["none", "ft", "ft(lr=9)"]
  assert losses(table) == " 5 of 9 cells diverged and are in no mean."
  console = Console(file=io.StringIO(), width=120)
  report.show(run, console)
  said = console.file.getvalue()
  assert "2 diverged" in said and "3 diverged" in said
  assert "5 of 9 cells diverged" in " ".join(said.split())
  text = report.write(run).read_text()
  assert '<dd class="ends">2 diverged</dd>' in text
  assert '<td class="faint" data-label="ft(lr=9)">3 diverged</td>' in text
  assert "5 of 9 cells diverged" in text


def test_what_has_no_table_is_named(tmp_path, fake):
  results.append(
    tmp_path / "results.jsonl", [fake.record("sig", "fmn", "ft", 0)]
  )
  gone = [lost(fake, "ft", seed, model="vgg16") for seed in range(2)]
  path = tmp_path / "diverged.jsonl"
  results.append(path, gone, required=results.DIVERGED)
  line = (
    "cifar10 / vgg16 / standalone: no result, since all cells diverged (2)."
  )
  out = io.StringIO()
  report.show(tmp_path, Console(file=out, width=200))
  assert line in out.getvalue()
  assert line in report.write(tmp_path).read_text()


def test_the_best_of_a_row_lost_no_seed(run, fake):
  whole = fake.record("badnets", "fmn", "nad", 0, asr=0.1, der=0.9)
  lucky = fake.record("badnets", "fmn", "ft", 0, asr=0.05, der=0.95)
  (table,) = pivot([whole, lucky], [lost(fake, "ft", 1)])
  assert best(table, ("badnets", "fmn")) == "nad"


def test_what_stands_for_an_undefended_model_is_no_cell(tmp_path, fake):
  results.append(
    tmp_path / "results.jsonl", [fake.record("sig", "fmn", "ft", 0)]
  )
  path = tmp_path / "diverged.jsonl"
  gone = [lost(fake, "ft", 1) | {"attack": "sig"}]
  results.append(path, gone, required=results.DIVERGED)
  found = load(tmp_path)
  (table,) = pivot(found.records, found.diverged)
  assert losses(table).startswith(" 1 of 2 cells diverged")
