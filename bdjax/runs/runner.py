"""Runs a plan cell by cell in a workdir, and continues where a kill left it.

A cell is (attack, regime, seed, defense). Its backdoored model is planted once,
kept under a key of what decides it, and shared by its defenses and later runs.
Sequela, asked of models after all cells, are cells of their own. What one of
them raises is its own failure: the others go on.
"""

import contextlib
import traceback
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import jax
from jax.sharding import Mesh
from rich.markup import escape

from bdjax.machine import hosts, losses
from bdjax.machine import mesh as meshes
from bdjax.machine.faults import Fault
from bdjax.report.results import Record
from bdjax.runs import (
  failed,
  knowledge,
  models,
  plans,
  records,
  sequel_cells,
  sequels,
  steps,
  sweeps,
  widths,
)
from bdjax.runs.cells import Cell, Names
from bdjax.runs.sequel_cells import SequelCell
from bdjax.runs.session import Session
from bdjax.runs.sweeps import Group
from bdjax.runs.workdir import Workdir
from bdjax.training import finite, pace
from bdjax.training.pace import Kind
from bdjax.training.progress import Display

OWN = (FloatingPointError, ValueError)  # what methods say in a sentence


class Runner:
  """Runs one plan in one workdir."""

  def __init__(
    self,
    plan: plans.Plan,
    workdir: Workdir,
    *,
    mesh: Mesh | None = None,
    shard: tuple[int, int] = (0, 1),
  ) -> None:
    """Prepares to run what the workdir lacks.

    Args:
      mesh: devices that share the batches of a cell; None uses one.
      shard: which of how many shares of the cells; a planted model and all its
        defenses are in one.
    """
    self._plan, self._workdir, self._mesh = plan, workdir, mesh
    self._names = Names(plan)
    place, count = shard
    self._cells = [
      cell
      for cell in self._names.cells()
      if int(self._names.planted(cell), 16) % count == place
    ]
    planted = {self._names.planted(cell) for cell in self._cells}
    # A clean model is with the first planted model that is asked the same.
    self._sequels = {
      name: question
      for name, question in sequel_cells.of(plan, self._names).items()
      if self._names.planted(question.cell) in planted
    }
    self._records, self._answers = workdir.records(), workdir.sequela()
    hosts.meet("records are read")
    self.failures: dict[str, str] = {}
    self._diverged: set[str] = set()  # those of them by divergence

  def cells(self) -> list[Cell]:
    """Returns the plan's cells, or this shard's."""
    return self._cells

  def todo(self) -> list[Cell]:
    """Returns the cells that are not finished."""
    return [c for c in self._cells if self._names.id(c) not in self._records]

  def questions(self) -> dict[str, SequelCell]:
    """Returns the sequela's cells that are not finished, by name."""
    done = self._answers
    return {name: x for name, x in self._sequels.items() if name not in done}

  def counts(self) -> tuple[int, int]:
    """Returns how many cells and sequela are unfinished, and their total."""
    todo = len(self.todo()) + len(self.questions())
    return todo, len(self._cells) + len(self._sequels)

  def kinds(self) -> list[Kind]:
    """Returns what unfinished ones are, by the time that they take.

    Cells of one program take none of their own.
    """
    todo = [*self.todo(), *self.questions().values()]
    return [] if self._plan.together else [one.kind for one in todo]

  def failed(self) -> dict[str, str]:
    """Returns why some have no result, by the name that the user sees."""
    read = {self._names.id(cell): str(cell) for cell in self._cells}
    read |= {name: str(question) for name, question in self._sequels.items()}
    return {read[name]: reason for name, reason in self.failures.items()}

  def run(self, display: Display) -> None:
    """Runs unfinished cells and sequela; `failures` gets those that fail.

    A cell fails if its training diverges, or if a method is faulty or finds
    that it cannot work on this data.
    """
    plan = self._plan
    session = Session(
      plan, self._workdir, self._names, display, mesh=self._mesh
    )
    with jax.default_matmul_precision(plan.precision):
      if plan.together:
        self._run_together(session)
      for cell in self.todo():
        if self._names.id(cell) not in self.failures:
          self._run(session, cell)
      for name, question in self.questions().items():
        self._ask(session, name, question)

  def _run(self, session: Session, cell: Cell) -> None:
    root = self._names.id(cell.root)
    if root in self.failures:
      session.display.start(str(cell), cell.kind)
      diverged = root in self._diverged
      reason, names = self.failures[root], [self._names.id(cell)]
      self._fail(session, names, reason, diverged=diverged)
    elif cell.defense is None:
      self._do(session, cell, partial(steps.score_planted, session, cell))
    else:
      before = self._records[root]
      self._do(session, cell, partial(steps.defend, session, cell, before))

  def _do(
    self, session: Session, cell: Cell, work: Callable[[], Record]
  ) -> None:
    """Keeps a cell's record, or why it has none."""
    name = self._names.id(cell)
    with self._attempt(session, str(cell), [name], cell.kind):
      record = work()
      self._workdir.record(record)
      self._records[name] = record
      self._workdir.stages(name).clear()
      rates = f"CA {record['ca']:.4f}  ASR {record['asr']:.4f}"
      session.display.finish(rates)

  def _ask(self, session: Session, name: str, question: SequelCell) -> None:
    with self._attempt(session, str(question), [name], question.kind):
      model = self._names.id(question.cell)
      if question.planted and model in self.failures:
        raise ValueError(self.failures[model])
      record = sequels.answer(session, name, question)
      self._workdir.sequel(record)
      self._answers[name] = record
      self._workdir.stages(name).clear()
      session.display.finish(sequels.said(record))

  @contextlib.contextmanager
  def _attempt(
    self,
    session: Session,
    title: str,
    names: Iterable[str],
    kind: Kind = pace.NONE,
  ) -> Iterator[None]:
    """Shows some work; what it raises is the failure of the cells named."""
    hosts.stop_if_told()
    session.display.start(title, kind)
    try:
      yield
    except Fault:  # of the disk, which the next cell would meet as well
      raise
    except OWN as error:
      if losses.lost(error):
        raise
      diverged = isinstance(error, FloatingPointError)
      self._fail(session, names, str(error), error, diverged=diverged)
    except Exception as error:
      if jax.process_count() > 1:  # the others would wait for this one
        raise
      self._fail(session, names, failed.reason(error), error)

  def _fail(
    self,
    session: Session,
    names: Iterable[str],
    reason: str,
    error: Exception | None = None,
    *,
    diverged: bool = False,
  ) -> None:
    for name in names:
      self.failures.setdefault(name, reason)
      if error is not None:
        text = "".join(traceback.format_exception(error))
        self._workdir.failure(name, text)
      if diverged:
        self._lose(name, reason)
    session.display.finish(f"[red]failed:[/red] {escape(reason)}", failed=True)

  def _lose(self, name: str, reason: str) -> None:
    """Records that a cell has diverged, so that reports count it."""
    self._diverged.add(name)
    cells = (c for c in self._cells if self._names.id(c) == name)
    for cell in cells:  # none where it is a sequel's
      plan, names = self._plan, self._names
      self._workdir.diverged(records.of_diverged(plan, names, cell, reason))

  # Many cells as one program.

  def _run_together(self, session: Session) -> None:
    """Plants and defends in groups; leaves to `run` what is not."""
    mesh = meshes.make()
    width = hosts.agreed(widths.chosen(self._plan))
    todo = self.todo()
    roots = list({self._names.planted(c): c.root for c in todo}.values())
    missing = [c for c in roots if not models.planted(session, c)]
    for group in sweeps.planting(missing):
      title = group.title(group.cells[0].attack, "plant")
      with self._attempt(session, title, self._unfinished(group)):
        self._plant(session, self._ready(session, group), mesh, width)
    for cell in todo:
      if cell.defense is None and self._names.id(cell) not in self.failures:
        self._run(session, cell)
    defended = [
      cell
      for cell in todo
      if cell.defense and self._names.id(cell.root) not in self.failures
    ]
    for group in sweeps.defending(defended):
      title = group.title(group.cells[0].defense, "defend")
      with self._attempt(session, title, self._unfinished(group)):
        self._defend(session, group, mesh, width)

  def _ready(self, session: Session, group: Group) -> Group:
    """Returns a group without the cells whose clean victim diverges."""
    lost = sweeps.without_victim(session, group)
    for cell, error in lost.items():
      names = [self._names.id(cell)]
      self._fail(session, names, str(error), error, diverged=True)
    return group.only([cell for cell in group.cells if cell not in lost])

  def _unfinished(self, group: Group) -> Iterator[str]:
    """Yields the names of a group's cells without a record, when asked."""
    names = map(self._names.id, group.cells)
    return (name for name in names if name not in self._records)

  def _plant(
    self, session: Session, group: Group, mesh: Mesh, width: int
  ) -> None:
    if not group.cells:
      return
    for done in sweeps.plant(session, group, mesh, width=width):
      cell = group.cells[done.place]
      session.display.members(done.place + 1, len(group.cells))
      if finite.finite((done.result.variables, done.result.params)):
        name = self._names.planted(cell)
        self._workdir.curves(name, done.journal)
        models.keep_backdoor(session, cell, *done[1:])
      else:
        name = self._names.id(cell)
        self.failures[name] = finite.DIVERGED
        self._lose(name, finite.DIVERGED)

  def _defend(
    self, session: Session, group: Group, mesh: Mesh, width: int
  ) -> None:
    held: dict[int, Any] = {}

    def access(place):
      backdoor = models.backdoor(session, group.cells[place])
      user = knowledge.user(self._plan, group.cells[place], backdoor)
      held[place] = backdoor, user
      return user

    for done in sweeps.defend(group, access, mesh, width=width):
      cell = group.cells[done.place]
      if finite.finite(done.result.variables):
        self._workdir.curves(self._names.id(cell), done.journal)
      before = self._records[self._names.id(cell.root)]
      args = (*held.pop(done.place), done.result, done.spent, before)
      self._do(session, cell, partial(steps.finish, session, cell, *args))
