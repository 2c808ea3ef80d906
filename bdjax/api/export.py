"""A run's numbers for other programs: CSV, Parquet, a LaTeX table.

pandas writes them all; CSV and Parquet have a row for each scored model, the
table a row for each attack and regime, and CA and ASR of each defense.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bdjax.api.outcome import Outcome, load, pandas
from bdjax.machine.faults import faults
from bdjax.report import tables
from bdjax.report.tables import Table

if TYPE_CHECKING:
  from pandas import DataFrame


def export(
  workdir: str | os.PathLike[str], path: str | os.PathLike[str]
) -> Path:
  """Writes a run's numbers; the file's end says how.

  Args:
    workdir: of the run.
    path: ends in .csv, .parquet or .tex; what is there is replaced.

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
  parts = [_text(table) for table in tables.pivot(outcome.records)]
  file.write_text("\n".join(parts), encoding="utf-8")


WRITERS: dict[str, Callable[[Outcome, Path], None]] = {
  ".csv": _csv,
  ".parquet": _parquet,
  ".tex": _latex,
}


def _text(table: Table) -> str:
  """Returns a table in LaTeX, for which the document loads booktabs."""
  frame = _rows(table)
  dataset, model, scenario = table.title
  seeds = max(len(row["seeds"]) for row in table.rows.values())
  spread = f", mean and deviation over {seeds} seeds" if seeds > 1 else ""
  caption = (
    f"CA and ASR in percent{spread}: {dataset}, {model}, {scenario}. In "
    "brackets what a defense is not judged for."
  )
  return frame.to_latex(
    index=False,
    escape=True,
    column_format="ll" + "r" * (len(frame.columns) - 2),
    caption=caption.replace("_", r"\_"),
    position="t",
  )


def _rows(table: Table) -> "DataFrame":
  rows = []
  for attack, regime in table.attacks:
    cells = {"attack": attack, "regime": regime}
    for defense in table.defenses:
      cells[defense] = _cell(table, (attack, regime, defense))
    rows.append(cells)
  return pandas().DataFrame(rows)


def _cell(table: Table, key: tuple[str, str, str]) -> str:
  row = table.rows.get(key)
  if row is None:
    return "--"
  word = tables.verdict(row)
  note = f" ({word})" if word in tables.UNJUDGED else ""
  return f"{tables.percent(row, 'ca')} / {tables.percent(row, 'asr')}{note}"
