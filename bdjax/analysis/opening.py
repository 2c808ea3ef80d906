"""A finished run's models, opened for a command that looks at them."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.console import Console

from bdjax import report
from bdjax.analysis import cases
from bdjax.analysis.cases import Subject
from bdjax.machine import locks, notes, storage
from bdjax.report.load import Run
from bdjax.runs import plans, settings
from bdjax.runs import workdir as workdirs
from bdjax.runs.cells import Cell, Names
from bdjax.runs.session import Session
from bdjax.runs.task_data import TaskData
from bdjax.runs.workdir import Workdir
from bdjax.training.progress import Display


class Opened(NamedTuple):
  """A run, its plan, and the planted models that are asked for."""

  found: Run
  plan: plans.Plan
  subjects: list[Subject]


@contextlib.contextmanager
def opened(
  workdir: str,
  console: Console,
  *,
  cells: Sequence[str] = (),
  store: str | None = None,
  own: TaskData | None = None,
) -> Iterator[Opened]:
  """Opens a run's models, which no other process may add to meanwhile.

  Args:
    workdir: a finished run's.
    console: for what has to be trained once more.
    cells: patterns of those that are asked for; see `cases.like`.
    store: where the run kept its models; None for the folder `models` in it.
    own: the arrays that the run was given, if it was.

  Raises:
    ValueError: there are none, or a planted model is not kept.
  """
  found = report.load(storage.place(workdir))
  if not found.config:
    raise ValueError(
      f"{found.workdir} holds no config.json, without which its models cannot "
      "be read: name the folder that a run was given."
    )
  plan = cases.plan(found.config, own)
  place = storage.place(store) if store else found.workdir / "models"
  with (
    locks.reading(),
    workdirs.opened(found.workdir, plan.config, store=place) as work,
  ):
    yield Opened(found, plan, _subjects(plan, work, found, cells, console))


def remind(subject: Subject, cell: Cell) -> None:
  """Says that a cell's model has to be trained once more, if it has."""
  if not subject.kept(cell):
    seconds = subject.records[cell]["seconds_train"] or 0
    notes.say(
      f"the run has not kept {cell}: it is repaired once more, which took "
      f"{seconds:,.0f} s."
    )


def _subjects(
  plan: plans.Plan,
  workdir: Workdir,
  found: Run,
  asked: Sequence[str],
  console: Console,
) -> list[Subject]:
  """Returns the planted models that are asked for.

  Raises:
    ValueError: there is none, or the store does not hold one.
  """
  subjects, known = [], set()
  for part in settings.by_seed(plan):
    names = Names(part)
    done = cases.finished(names, found.cells)
    known |= {record["cell"] for record in done.values()}
    session = Session(part, workdir, names, Display(console, cells=0))
    subjects += cases.subjects(session, done, asked)
  if len(known) < len(found.cells):
    notes.say(
      f"{len(found.cells) - len(known)} of {len(found.cells)} cells are left "
      f"out: {found.workdir} has them from an earlier config, whose methods "
      "config.json no longer names."
    )
  if not subjects:
    raise ValueError(_none(found, asked))
  _check_planted(subjects, workdir)
  return subjects


def _none(found: Run, asked: Sequence[str]) -> str:
  if not asked:
    return (
      f"{found.workdir} has no cell that its config.json names: run the config "
      "into it once more."
    )
  first = "/".join(str(found.cells[-1][key]) for key in cases.CALLED)
  return (
    f"--cells is {' '.join(asked)!r}, but {found.workdir} has no such "
    f"finished cell: one that it has is {first!r}."
  )


def _check_planted(subjects: Sequence[Subject], workdir: Workdir) -> None:
  for subject in subjects:
    if not subject.kept(subject.root):
      place = workdir.model(subject.name(subject.root))
      raise ValueError(
        f"the planted model of {subject.root} is not at {place}: give the "
        "folder that the run kept its models in with --store."
      )
