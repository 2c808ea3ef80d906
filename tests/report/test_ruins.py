"""A ruined model, and one without a backdoor, never look like a success."""

import io
import re

import pytest
from rich.console import Console

from bdjax import report
from bdjax.report import results, sweeps, swept, tables

RUIN = {"ca": 0.075, "asr": 0.0, "der": 0.695}


def records(fake, **clean):
  """Return an attack whose best defense by numbers alone ruined the model."""
  sound = {"ca": 0.9, "asr": 0.1, "der": 0.92}
  return [
    fake.record("badnets", "fmn", "none", 0),
    fake.record("badnets", "fmn", "ft", 0, **sound, **clean),
    fake.record("badnets", "fmn", "nad", 0, **RUIN),
    fake.record("sig", "fmn", "ft", 0, **sound, asr_before=0.3),
  ]


@pytest.fixture
def folder(tmp_path, fake):
  results.append(tmp_path / "results.jsonl", records(fake, clean_asr=0.023))
  return tmp_path


def test_the_best_of_a_row_is_sound(fake):
  (table,) = tables.pivot(records(fake))
  assert tables.best(table, ("badnets", "fmn")) == "ft"
  assert tables.best(table, ("sig", "fmn")) is None
  ruin = table.rows["badnets", "fmn", "nad"]
  assert (tables.verdict(ruin), tables.rating(ruin)) == ("destroyed", "–")
  assert tables.rating(table.rows["badnets", "fmn", "ft"]) == "92.0"
  assert tables.rating(table.rows["badnets", "fmn", "none"]) == "–"


def test_an_attack_that_failed_in_one_seed_judges_nothing(fake):
  before = (0.99, 0.89, 0.99)
  cells = [
    fake.record("badnets", "fmn", "ft", seed, asr=0.05, asr_before=asr)
    for seed, asr in enumerate(before)
  ]
  (row,) = results.summarize(cells)
  assert row["asr_before"] > 0.95 and tables.verdict(row) == "attack failed"
  (row,) = results.summarize([cells[0], cells[2]])
  assert tables.verdict(row) == "gone"


def test_of_sound_ones_the_highest_der_is_best_and_alive_is_not(fake):
  rows = [
    fake.record("a", "fmn", d, 0, ca=0.9, asr=asr, der=der)
    for d, asr, der in (("x", 0.1, 0.8), ("y", 0.2, 0.9), ("z", 0.6, 0.99))
  ]
  (table,) = tables.pivot(rows)
  assert tables.best(table, ("a", "fmn")) == "y"


def test_an_asr_stands_beside_chance_and_the_floor(fake):
  (row,) = results.summarize([fake.record("a", "fmn", "ft", 0, classes=100)])
  assert tables.floor(row) == "chance 1"
  assert tables.floor(row | {"clean_left": 0.023, "clean_left_sd": None}) == (
    "chance 1, clean model 2.3"
  )


def test_the_page_hatches_it_without_colour(folder):
  page = report.write(folder).read_text()
  cells = re.findall(r"<td[^>]*>\s*<dl>.*?</dl>", page, re.S)
  (ruin,) = [cell for cell in cells if "destroyed" in cell]
  assert 'class="unjudged"' in ruin and "--asr" not in ruin
  assert "7.5" in ruin and "69.5" not in ruin and "best" not in ruin
  (best,) = [cell for cell in cells if "best" in cell]
  assert "gone, best" in best and "chance 10, clean model 2.3" in best
  assert sum("attack failed" in cell for cell in cells) == 2


def test_the_console_says_so_and_has_no_green(folder):
  console = Console(file=io.StringIO(), width=200, force_terminal=True)
  report.show(folder, console)
  text = console.file.getvalue()
  green = re.findall(r"\x1b\[32m([\d.]+)", text)
  assert green == ["10.0"]
  plain = re.sub(r"\x1b\[[\d;]*m", "", text)
  assert "destroyed" in plain and plain.count("attack failed") >= 2
  assert "chance 10 floor 2.3" in plain


def test_a_setting_that_ruins_is_not_the_best(fake):
  def cell(lr, **rates):
    return fake.record(
      "a", "fmn", f"ft(lr={lr})", 0, **{"axis.lr": lr}, **rates
    )

  made = [cell(9.0, **RUIN), cell(0.1, ca=0.9, asr=0.4, der=0.6)]
  (sweep,) = swept.sweeps(made)
  first, last = sweeps.best(sweep)
  assert (first["setting"], first["verdict"]) == ("lr = 0.1", "weak")
  assert (last["setting"], last["verdict"]) == ("lr = 9", "destroyed")
  both = [c | {"axis.rho": rho} for c in made for rho in (1, 2)]
  (sweep,) = swept.sweeps(both)
  ((_, svg), _) = sweeps.panels(sweep)
  assert svg.count("<pattern") == 1  # hatched


def test_seeds_are_dots_and_one_seed_has_no_interval(tmp_path, fake):
  cells = [fake.record("a", "fmn", "ft", s, asr=0.1 + s / 2) for s in (0, 1)]
  cells += [fake.record("a", "fmn", "nad", 0, asr=0.5)]
  results.append(tmp_path / "results.jsonl", cells)
  page = report.write(tmp_path).read_text()
  assert "ASR by seed 0: 10.0, seed 1: 60.0" in page
  assert '<circle cx="10.0"' in page and '<circle cx="60.0"' in page
  assert "[0.0, 100.0]" in page  # 35 ± 12.706 * 35.36 / sqrt(2)
  cells = re.findall(r"<td[^>]*>\s*<dl>.*?</dl>", page, re.S)
  (alone,) = [cell for cell in cells if "50.0" in cell and "alive" in cell]
  assert "one seed" in alone and "[" not in alone
