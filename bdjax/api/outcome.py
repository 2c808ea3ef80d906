"""What a run measured, for Python: records, a data frame, a page."""

import importlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from bdjax import report
from bdjax.machine import storage
from bdjax.report import results, tables

if TYPE_CHECKING:
  from pandas import DataFrame

HIDDEN = ("config", "versions")  # of a record: too much for a column
FIRST = (  # of its columns
  *("dataset", "model", "scenario", "attack", "regime", "defense", "seed"),
  *("ca_before", "asr_before", "ca", "asr", "ra", "der", "clean_asr"),
)
WIDTH = 100  # letters of the table


class Outcome:
  """The results of a work directory.

  Attributes:
    workdir: where they lie.
    records: a dict for each model that was scored: the undefended ones
      (`defense` is "none") and each defense's; numbers are shares.
  """

  def __init__(self, workdir: str | os.PathLike[str]) -> None:
    """Reads a work directory.

    Raises:
      ValueError: it holds no results.
    """
    self._run = report.load(workdir)
    self.workdir = self._run.workdir
    self.records: Sequence[results.Record] = self._run.records

  def __repr__(self) -> str:
    """Returns how much there is, and where; printing shows the table."""
    return f"<{len(self.records)} models scored, in {self.workdir}>"

  def __str__(self) -> str:
    """Returns the tables that the command line prints."""
    text = io.StringIO()
    report.show(self._run, Console(file=text, width=WIDTH))
    return text.getvalue()

  def frame(self) -> "DataFrame":
    """Returns a data frame with a row for each record.

    Names and rates come first, then `judged`: whether the row says something of
    its defense, as it does not where the attack failed or the model is ruined.

    Raises:
      ModuleNotFoundError: pandas is not installed.
    """
    return pandas().DataFrame([_flat(record) for record in self.records])

  def page(self) -> Path:
    """Writes report.html into the work directory; returns its path."""
    return report.write(self._run)


def pandas() -> Any:
  """Returns the library pandas.

  Raises:
    ModuleNotFoundError: it is not installed.
  """
  try:
    return importlib.import_module("pandas")
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
      "this needs pandas: pip install 'bdjax[frames]'."
    ) from error


def _flat(record: results.Record) -> dict[str, Any]:
  (row,) = results.summarize([record])
  judged = {"judged": tables.verdict(row) not in tables.UNJUDGED}
  first = {k: record[k] for k in FIRST if k in record} | judged
  return first | {k: v for k, v in record.items() if k not in HIDDEN}


def load(workdir: str | os.PathLike[str]) -> Outcome:
  """Returns the results of a work directory, local or gs://BUCKET/FOLDER.

  Raises:
    ValueError: it holds no results.
  """
  return Outcome(storage.place(os.fspath(workdir)))
