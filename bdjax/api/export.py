"""A run's numbers for other programs, as CSV, Parquet, LaTeX; its figures.

pandas writes them all; CSV and Parquet have a row for each scored model, the
table CA and ASR of each defense, side by side or, where they are many, below
each other. A PDF has the figures of the report, each on a page of its own.
"""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bdjax import report
from bdjax.api.outcome import Outcome, load, pandas
from bdjax.machine.faults import faults
from bdjax.report import figures, judging, page, results, tables
from bdjax.report.judging import NONE
from bdjax.report.tables import Table

if TYPE_CHECKING:
  from pandas import DataFrame

WIDE = 4  # defenses side by side; more of them stand below each other
COLUMNS = ("CA", "ASR")


def export(
  workdir: str | os.PathLike[str], path: str | os.PathLike[str]
) -> Path:
  """Writes a run's numbers or figures; the file's end says how.

  Args:
    workdir: of the run.
    path: ends in .csv, .parquet, .tex or .pdf; what is there is replaced.

  Returns:
    The path.

  Raises:
    ValueError: the directory holds no results, or the name ends otherwise.
    ModuleNotFoundError: pandas is not installed, or pyarrow for Parquet.
  """
  file = Path(path)
  if file.suffix not in WRITERS:
    raise ValueError(
      f"{file} must end in one of {', '.join(WRITERS)}: table.tex, say."
    )
  outcome = load(workdir)
  with faults(file, "write"):
    file.parent.mkdir(parents=True, exist_ok=True)
    WRITERS[file.suffix](outcome, file)
  return file


def _csv(outcome: Outcome, file: Path) -> None:
  outcome.frame().to_csv(file, index=False)


def _parquet(outcome: Outcome, file: Path) -> None:
  frame = outcome.frame()
  lists = [k for k in frame if frame[k].map(type).isin((list, dict)).any()]
  frame[lists] = frame[lists].astype(str)  # a column has one type
  frame.to_parquet(file, index=False)


def _latex(outcome: Outcome, file: Path) -> None:
  lost = report.load(outcome.workdir).diverged
  parts = [_text(table) for table in tables.pivot(outcome.records, lost)]
  file.write_text("\n".join(parts), encoding="utf-8")


def _pdf(outcome: Outcome, file: Path) -> None:
  found = page.drawn(report.load(outcome.workdir))
  with file.open("wb") as stream:
    figures.pages(stream, found)


WRITERS: dict[str, Callable[[Outcome, Path], None]] = {
  ".csv": _csv,
  ".parquet": _parquet,
  ".tex": _latex,
  ".pdf": _pdf,
}


def _text(table: Table) -> str:
  """Returns a table in LaTeX, for which the document loads booktabs."""
  dataset, model, scenario = table.title
  shown = list(table.rows.values())
  words = {tables.verdict(row) for row in shown}
  notes = [f" {tables.MARKS[k]} {k}." for k in tables.UNJUDGED if k in words]
  caption = (
    f"CA and ASR in percent: {dataset}, {model}, {scenario}. {_counts(shown)}"
    f"{f' {tables.MOVED}' if tables.moved(table) else ''}"
    f"{''.join(notes)}{tables.losses(table)}"
  )
  frame = _wide(table) if len(table.defenses) <= WIDE else _long(table)
  names = sum(
    name not in COLUMNS for name in frame.columns.get_level_values(-1)
  )
  text = frame.to_latex(
    index=False,
    escape=True,
    column_format="l" * names + "r" * (len(frame.columns) - names),
    multicolumn_format="c",
    caption=caption.replace("_", r"\_"),
    label="tab:" + "-".join(re.findall("[a-z0-9]+", "-".join(table.title))),
    position="t",
  )
  for letter, command in tables.LATEX.items():
    text = text.replace(letter, command)
  return text


def _counts(shown: Sequence[results.Record]) -> str:
  """Returns in sentences what rates are means of, and what they fall to."""
  seeds = tables.between(len(row["seeds"]) for row in shown)
  means = "One seed"
  if seeds != "1":
    means = f"Mean ± standard deviation over {seeds} seeds"
  ca, asr = (
    tables.between(row[name] // len(row["seeds"]) for row in shown)
    for name in ("test_images", "triggered_images")
  )
  text = f"{means}, on {ca} test images and {asr} triggered ones a seed. "
  judged = [row for row in shown if row["defense"] != NONE] or shown
  chances = (100 * judging.chance(row) for row in judged)
  text += f"Chance is {tables.several(f'{chance:.3g}' for chance in chances)}"
  floors = [r["clean_left"] for r in judged if r["clean_left"] is not None]
  if floors:
    ends = (f"{100 * end:.1f}" for end in (min(floors), max(floors)))
    name = "a collapse" if judged[0]["success"] == "collapse" else "an ASR"
    span = " to ".join(dict.fromkeys(ends))
    text += f"; models without a backdoor have {name} of {span}"
  return f"{text}."


def _wide(table: Table) -> "DataFrame":
  """Returns a row for each model, and two columns for each defense."""
  rows = []
  for attack, regime in table.attacks:
    cells = {("", "attack"): attack, ("", "regime"): regime}
    for defense in table.defenses:
      pair = _pair(table, (attack, regime, defense))
      cells |= {(defense, k): v for k, v in pair.items()}
    rows.append(cells)
  frame = pandas().DataFrame(rows)
  frame.columns = pandas().MultiIndex.from_tuples(list(frame.columns))
  return frame


def _long(table: Table) -> "DataFrame":
  """Returns a row for each model and defense."""
  rows = []
  for attack, regime in table.attacks:
    for defense in table.defenses:
      key = (attack, regime, defense)
      names = zip(("attack", "regime", "defense"), key, strict=True)
      rows.append(dict(names) | _pair(table, key))
  return pandas().DataFrame(rows)


def _pair(table: Table, key: tuple[str, str, str]) -> dict[str, str]:
  """Returns CA and ASR of a cell, marked where its defense is not judged."""
  row = table.rows.get(key)
  if row is None:
    return dict.fromkeys(
      COLUMNS, "diverged" if tables.lost(table, key) else "–"
    )
  mark = tables.MARKS.get(tables.verdict(row), "")
  ca, asr = (tables.percent(row, name) for name in ("ca", "left"))
  return dict(zip(COLUMNS, (ca, f"{asr}{mark}"), strict=True))
