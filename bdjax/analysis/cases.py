"""The models of a finished run: which there are, and how they come back."""

import functools
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from bdjax.analysis import scores
from bdjax.analysis.scores import Probe
from bdjax.data import splits
from bdjax.report.judging import NONE
from bdjax.report.results import Record
from bdjax.runs import models, plans, settings, task_data
from bdjax.runs.cells import Cell, Names
from bdjax.runs.session import Session
from bdjax.runs.task_data import TaskData
from bdjax.training import checkpoint
from bdjax.types import Dataset, Params

CALLED = ("attack", "regime", "defense", "seed")  # by its user
SEEN = ("dataset", "model", *CALLED)
RATES = ("ca_before", "asr_before", "ca", "asr")


class Subject:
  """A planted model, and the finished cells that repaired it.

  What it takes is loaded when it is first asked for.
  """

  def __init__(
    self, session: Session, root: Cell, records: dict[Cell, Record]
  ) -> None:
    """Takes the records of a planted model's finished cells."""
    self.session, self.root, self.records = session, root, records
    self.model = session.plan.model.built

  @property
  def repaired(self) -> list[Cell]:
    """The cells that have a defense."""
    return [cell for cell in self.records if cell.defense]

  def name(self, cell: Cell) -> str:
    """Returns the name under which the store keeps a cell's model.

    It is the record's, which other code may have given.
    """
    if cell.defense is None:
      return self.session.names.planted(cell)
    return self.records[cell]["cell"]

  def about(self, cell: Cell) -> dict[str, Any]:
    """Returns what the report must know of a cell."""
    record = self.records.get(cell) or next(iter(self.records.values()))
    known = {k: record[k] for k in ("cell", "planted", *SEEN, *RATES)}
    if cell not in self.records:
      known["cell"] = self.session.names.id(cell)
    if cell.defense is None:
      known |= {"defense": NONE} | {k: record[f"{k}_before"] for k in RATES[2:]}
    return known

  @functools.cached_property
  def planted(self) -> Params:
    """Variables of the planted model."""
    return models.backdoor(self.session, self.root).variables

  def variables(self, cell: Cell) -> Params:
    """Returns a cell's model, repairing it again if it was not kept."""
    if cell.defense is None:
      return self.planted
    if self._held(self.name(cell)):
      path = self.session.workdir.model(self.name(cell))
      return checkpoint.load(path, self.planted)
    return models.defended(self.session, cell)

  def kept(self, cell: Cell) -> bool:
    """Returns whether the store holds a cell's model, by either name."""
    again = self.session.names.id(cell)  # what one that is repaired again gets
    return (
      self._held(self.name(cell)) or bool(cell.defense) and self._held(again)
    )

  def _held(self, name: str) -> bool:
    return checkpoint.exists(self.session.workdir.model(name))

  def probe(self, images: int, *, flag: str = "images") -> Probe:
    """Returns so many test images, clean and triggered.

    Args:
      images: how many, at most.
      flag: what they are given by.
    """
    return self._probe(min(images, self.session.plan.test.size), flag)

  @functools.cache  # noqa: B019 - a subject is dropped with its images
  def _probe(self, images: int, flag: str) -> Probe:
    backdoor = models.backdoor(self.session, self.root)
    test = splits.sample(self.session.plan.test, images)
    return scores.probe(test, backdoor, self.root.attack.built, flag=flag)

  def clean(self, images: int) -> Dataset:
    """Returns so many clean training images."""
    return splits.sample(self.session.plan.train, images)


def plan(config: dict[str, Any], own: TaskData | None = None) -> plans.Plan:
  """Returns the plan of a finished run.

  Args:
    config: as its folder holds it.
    own: the arrays that the run was given; None if it named a dataset.

  Raises:
    ValueError: the scenario is another than standalone.
  """
  if own is None and config["data"]["name"] == task_data.OWN:
    raise ValueError(
      "the run's images are arrays that a Python program gave it, and no "
      "command can read those: bdjax.save_models(..., data=...) takes them."
    )
  made = settings.plan(config, own=own)
  if made.scenario.name != "standalone":
    raise ValueError(
      f"the run's scenario is {made.scenario.label}, but analysis looks at "
      "models of the scenario standalone alone: name the folder of such a run."
    )
  return made


def finished(names: Names, records: Iterable[Record]) -> dict[Cell, Record]:
  """Returns the cells of a plan that have a record.

  A cell that other code has named otherwise is known by its methods.
  """
  records = list(records)
  named = {record["cell"]: record for record in records}
  called = {tuple(record[key] for key in CALLED): record for record in records}
  found = {}
  for cell in names.cells():
    call = (*cell.called, cell.seed)
    record = named.get(names.id(cell)) or called.get(call)
    if record:
      found[cell] = record
  return found


def subjects(
  session: Session, done: dict[Cell, Record], patterns: Sequence[str]
) -> list[Subject]:
  """Returns the planted models that have finished cells like these.

  Args:
    done: cells with their records.
    patterns: see `like`; none takes all.
  """
  groups: dict[Cell, dict[Cell, Record]] = {}
  for cell, record in done.items():
    if not patterns or any(like(record, p) for p in patterns):
      groups.setdefault(cell.root, {})[cell] = record
  return [Subject(session, root, found) for root, found in groups.items()]


def like(record: Record, pattern: str) -> bool:
  """Returns whether a record is of a cell that a pattern means.

  Args:
    pattern: attack/regime/defense/seed, in which * stands for any text and
      what is left out at the end for anything; or the cell's name.
  """
  if pattern == record["cell"]:
    return True
  parts = pattern.split("/")
  names = [str(record[key]) for key in CALLED]
  return len(parts) <= len(names) and all(
    fnmatchcase(name, part or "*")
    for name, part in zip(names, parts, strict=False)
  )
