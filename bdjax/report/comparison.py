"""Several work directories on one page: a column each, and what they differ in.

A row is an attack, a regime and a defense; it has the cells of the report. What
is left of a backdoor is compared with the first work directory's, seed by seed
where two or more seeds are shared.
"""

import json
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from bdjax.machine import storage
from bdjax.machine.storage import Place
from bdjax.report import answer, intervals, page, results, tables
from bdjax.report.judging import NONE
from bdjax.report.load import Run

Title = tuple[str, str, str]  # dataset, model, scenario
_SHOWN = 60  # letters of a setting


class Row(NamedTuple):
  """One attack, regime and defense in every work directory."""

  attack: str
  regime: str
  defense: str
  cells: list[results.Record | None]  # of each; None where it was not run
  lost: list[str]  # how many seeds diverged there, in words
  less: list[str]  # ASR less the first one's, in words


def write(runs: Sequence[Run]) -> Place:
  """Writes `comparison.html` into the first of several work directories.

  Args:
    runs: two or more, read.

  Returns:
    Path of the page.
  """
  return storage.write(runs[0].workdir / "comparison.html", render(runs))


def render(runs: Sequence[Run]) -> str:
  """Returns the page as one self-contained HTML document."""
  document, css = page.template("comparison.html.j2")
  pivots = [tables.pivot(run.records, run.diverged) for run in runs]
  titles = dict.fromkeys(table.title for some in pivots for table in some)
  found = [{table.title: table for table in some} for some in pivots]
  return document.render(
    css=css,
    js=page.script(),
    names=names(runs),
    folders=[str(run.workdir) for run in runs],
    settings=settings(runs),
    sections=[
      {
        "name": " / ".join(title),
        "answers": [_said(some.get(title)) for some in found],
        "rows": rows([some.get(title) for some in found]),
      }
      for title in titles
    ],
    **page.CELL,
  )


def names(runs: Sequence[Run]) -> list[str]:
  """Returns what the work directories are called: their last part, or all."""
  short = [run.workdir.name for run in runs]
  whole = len(set(short)) < len(short)
  return [str(run.workdir) for run in runs] if whole else short


def settings(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
  """Returns the settings that differ, by name, and each one's value."""
  flat = [dict(_flat(run.config)) for run in runs]
  known = dict.fromkeys(name for one in flat for name in one)
  values = {k: [_short(one.get(k, "–")) for one in flat] for k in known}
  return [(k, some) for k, some in values.items() if len(set(some)) > 1]


def rows(found: Sequence[tables.Table | None]) -> list[Row]:
  """Returns the rows of one dataset, model and scenario.

  Args:
    found: its table in each work directory, or None.
  """
  some = [table for table in found if table is not None]
  labels = dict.fromkeys(label for table in some for label in table.attacks)
  defenses = dict.fromkeys(name for table in some for name in table.defenses)
  order = sorted(defenses, key=lambda name: name != NONE)
  keys = [(*label, defense) for label in labels for defense in order]
  made = [_row(key, found) for key in keys]
  return [row for row in made if any(row.cells) or any(row.lost)]


def _row(
  key: tuple[str, str, str], found: Sequence[tables.Table | None]
) -> Row:
  cells = [table and table.rows.get(key) for table in found]
  lost = [tables.lost(table, key) if table else "" for table in found]
  less = ["", *(_less(cells[0], cell) for cell in cells[1:])]
  return Row(*key, cells, lost, less)


def _less(first: results.Record | None, cell: results.Record | None) -> str:
  """Returns how much less or more is left than in the first one, in points."""
  if first is None or cell is None or None in (first["left"], cell["left"]):
    return ""
  here, there = (
    dict(zip(row["seeds"], row["left_values"], strict=True))
    for row in (cell, first)
  )
  gaps = [here[seed] - there[seed] for seed in here if seed in there]
  if not gaps:
    return "no seed in both"
  ends = intervals.student(gaps)
  if ends is None:
    return f"{100 * gaps[0]:+.1f}, no interval"
  low, high = (100 * end for end in ends)
  return f"{100 * statistics.fmean(gaps):+.1f} [{low:.1f}, {high:.1f}]"


def _said(table: tables.Table | None) -> str:
  return " ".join(answer.answer(table).sentences) if table else "Not run."


def _flat(config: dict[str, Any], above: str = "") -> list[tuple[str, Any]]:
  pairs = []
  for key, value in config.items():
    name = f"{above}{key}"
    inner = isinstance(value, dict)
    pairs += _flat(value, f"{name}.") if inner else [(name, value)]
  return pairs


def _short(value: Any) -> str:
  text = value if isinstance(value, str) else json.dumps(value)
  return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
