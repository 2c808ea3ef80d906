"""What triggers do in another task, in the page and the console."""
# ruff: noqa: D103

import io

from rich.console import Console

from bdjax import report
from bdjax.report import elsewhere, results

FOUND = {
  "scenario": "transfer",
  "ta": 0.5,
  "collapse": 0.25,
  "drop": -0.2,
  "clean_ca": 0.8,
  "clean_asr": 0.1,
  "clean_ta": 0.7,
  "clean_collapse": 0.125,
}


def cells(fake):
  return [
    fake.record("badnets", "fmn", "ft", seed, **FOUND | {"ta": ta, "ca": 0.75})
    for seed, ta in enumerate((0.5, 0.6))
  ]


def test_numbers_stand_beside_those_of_the_clean_model(fake):
  (row,) = elsewhere.table(cells(fake))
  assert (row["attack"], row["regime"], row["defense"]) == (
    "badnets",
    "fmn",
    "ft",
  )
  ca, _, collapse, triggered, drop = row["values"]
  assert ca == "75.0 ± 0.0 (80.0 ± 0.0)"
  assert collapse == "25.0 ± 0.0 (12.5 ± 0.0)"
  assert triggered == "55.0 ± 7.1 (70.0 ± 0.0)"
  assert drop == "-20.0 ± 0.0"
  assert elsewhere.table([fake.record("badnets", "fmn", "ft", 0)]) == []


def test_page_and_console_show_them(tmp_path, fake):
  made = cells(fake)
  rows = [
    fake_row | {"collapse": 0.3}
    for cell in made
    for fake_row in fake.curve(cell["cell"], "ft")
  ]
  results.append(tmp_path / "results.jsonl", made)
  results.append(tmp_path / "curves.jsonl", rows, required=results.CURVE)
  page = report.write(tmp_path).read_text()
  assert "In the user&#39;s task" in page or "In the user's task" in page
  assert "25.0 ± 0.0 (12.5 ± 0.0)" in page
  assert "solid lines show the collapse" in page
  out = io.StringIO()
  report.show(tmp_path, Console(file=out, width=200))
  assert "55.0 ± 7.1 (70.0 ± 0.0)" in out.getvalue()


def test_seeds_that_were_not_scored_there_are_counted(fake):
  first, second = cells(fake)
  (row,) = elsewhere.table([first, second | {"drop": None}])
  assert row["defense"] == "ft (1 of 2 seeds)"


def test_all_numbers_have_the_collapse_where_there_is_one(tmp_path, fake):
  for name, made in (("moved", cells(fake)), ("alone", [alone(fake)])):
    folder = tmp_path / name
    folder.mkdir()
    results.append(folder / "results.jsonl", made)
    page = report.write(folder).read_text()
    numbers = page[page.index('id="numbers"') :]
    assert ("25.0 ± 0.0" in numbers) == (name == "moved")
    assert ('data-label="collapse"' in numbers) == (name == "moved")


def alone(fake):
  return fake.record("badnets", "fmn", "ft", 0)
