"""Printed cells, read from docs/published (its README explains the words)."""

import csv
import functools
from pathlib import Path
from typing import NamedTuple

from bdjax.machine import shipped

METRICS = ("ca", "asr", "ta", "drop", "gpu_hours", "index", "detected")
SETTINGS = {"epoch", "source"}
ALL = "all"  # the row of every dataset and attack


class Cell(NamedTuple):
  """One printed number.

  Attributes:
    study: such as fmn_table2.
    row: as written in the file.
    column: likewise.
    datasets: none, one, or the adversary's and the user's.
    attack: its name; "" for all.
    regime: its name, or clean for a clean model; "" for all.
    defense: as in a config.
    metric: one of METRICS.
    value: percent or hours; None where the paper has a dash.
    epoch: of the defense; None for its end.
    source: "introduction" for a second value of a cell, else "".
    note: on the value.
  """

  study: str
  row: str
  column: str
  datasets: tuple[str, ...]
  attack: str
  regime: str
  defense: str
  metric: str
  value: float | None = None
  epoch: int | None = None
  source: str = ""
  note: str = ""

  def near(self, defense: str, metric: str = "asr") -> "Cell":
    """Returns another defense's end for the same model, without a value."""
    return cell(self.study, self.row, f"{defense} {metric}")


def folder() -> Path:
  """Returns where the printed numbers lie.

  Raises:
    ValueError: this is an installation without the repository.
  """
  path = shipped.published()
  if not path.is_dir():
    raise ValueError(
      f"a study needs the papers' numbers, but {path} is not there: run from a "
      "clone of the repository, or install bdjax whole."
    )
  return path


@functools.cache
def read(study: str) -> tuple[Cell, ...]:
  """Returns a study's printed cells; none where the paper prints none.

  Raises:
    ValueError: the repository is not there, or a cell cannot be read.
  """
  path = folder() / f"{study}.csv"
  if not path.exists():
    return ()
  with path.open(newline="", encoding="utf-8") as file:
    return tuple(
      cell(study, line["row"], line["column"])._replace(
        value=float(line["value"]) if line["value"] else None,
        note=line["note"],
      )
      for line in csv.DictReader(file)
    )


def value(cell: Cell) -> float | None:
  """Returns what is printed at a cell's place, or None."""
  place = (cell.row, cell.defense, cell.metric, cell.epoch)
  return next(
    (
      one.value
      for one in read(cell.study)
      if (one.row, one.defense, one.metric, one.epoch) == place
    ),
    None,
  )


def cell(study: str, row: str, column: str) -> Cell:
  """Returns the cell that a row's and a column's words name.

  Raises:
    ValueError: they are not of that form.
  """
  *places, attack, regime = ["", ""] if row == ALL else row.split(" ")
  defense, *settings, metric = column.split(" ")
  given = dict(setting.partition("=")[::2] for setting in settings)
  if len(places) > 2 or metric not in METRICS or given.keys() - SETTINGS:
    raise ValueError(
      f"{study} has a cell {row!r}, {column!r}, which cannot be read: see "
      "docs/published/README.md."
    )
  epoch = given.get("epoch")
  return Cell(
    study=study,
    row=row,
    column=column,
    datasets=tuple(places),
    attack=attack,
    regime=regime,
    defense=defense,
    metric=metric,
    epoch=None if epoch is None else int(epoch),
    source=given.get("source", ""),
  )
