"""Runs a plan cell by cell in a workdir, and continues where a kill left it.

A cell is (attack, regime, seed, defense). Its backdoored model is planted once,
kept under a key of what decides it, and shared by its defenses and later runs.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.sharding import Mesh
from rich.markup import escape

from bdjax.machine import hosts
from bdjax.machine import mesh as meshes
from bdjax.report.results import Record
from bdjax.runs import experiment, groups, parties, plans, together, widths
from bdjax.runs.cells import Book, Cell, pictures
from bdjax.runs.planter import Planter
from bdjax.runs.scorer import Scorer, findings, rates
from bdjax.runs.sequels import Sequels
from bdjax.runs.workdir import Workdir
from bdjax.training import loop, metrics
from bdjax.training.progress import Display
from bdjax.types import Access, Backdoor, Defended


class Runner:
  """Runs one plan in one workdir."""

  def __init__(
    self,
    plan: plans.Plan,
    workdir: Workdir,
    *,
    mesh: Mesh | None = None,
    shard: tuple[int, int] = (0, 1),
  ):
    """Prepares to run what the workdir lacks.

    Args:
      plan: what there is to run.
      workdir: where results go.
      mesh: devices that share the batches of a cell; None uses one.
      shard: which of how many shares of the cells; a planted model and all its
        defenses are in one.
    """
    self._shard = shard
    self._plan, self._workdir, self._mesh = plan, workdir, mesh
    self._book, self._scorer = Book(plan), Scorer(plan, mesh=mesh)
    self._records = workdir.records()
    hosts.meet("records are read")
    self._planter = Planter(plan, workdir, self._book, mesh=mesh)
    self._sequels = Sequels(
      plan, workdir, self._book, self._planter, self._scorer, mesh=mesh
    )
    self.failures: dict[str, str] = {}

  def cells(self) -> list[Cell]:
    """Returns the plan's cells, or this shard's."""
    place, count = self._shard
    return [
      cell
      for cell in self._book.cells()
      if int(self._book.planted(cell), 16) % count == place
    ]

  def todo(self) -> list[Cell]:
    """Returns the cells that are not finished."""
    return [c for c in self.cells() if self._book.id(c) not in self._records]

  def counts(self) -> tuple[int, int]:
    """Returns how many cells and sequela are unfinished, and there are."""
    todo, cells = self.todo(), self.cells()
    more, cases = self._sequels.todo(cells), self._sequels.cases(cells)
    return len(todo) + len(more), len(cells) + len(cases)

  def failed(self) -> dict[str, str]:
    """Returns why some have no result, by what the user reads of them."""
    cases = {k: str(x) for k, x in self._sequels.cases(self.cells()).items()}
    named = {self._book.id(cell): str(cell) for cell in self.cells()} | cases
    return {named[name]: error for name, error in self.failures.items()}

  def run(self, display: Display) -> None:
    """Runs unfinished cells and sequela; `failures` gets those that cannot be.

    They diverge, or a method finds that it cannot work on this data.
    """
    with jax.default_matmul_precision(self._plan.precision):
      self._run_all(display)

  def _run_all(self, display: Display) -> None:
    if self._plan.together:
      self._run_together(display)
    for cell in self.todo():
      if self._book.id(cell) not in self.failures:
        self._attempt(cell, display, functools.partial(self._run, cell))
    self._sequels.run(self.cells(), display, self.failures)

  def _attempt(
    self, cell: Cell, display: Display, work: Callable[[Display], Record]
  ) -> None:
    """Runs a cell and keeps its record, or why it has none."""
    hosts.stop_if_told()
    display.start(str(cell))
    try:
      record = work(display)
    except (FloatingPointError, ValueError) as error:
      self.failures[self._book.id(cell)] = str(error)
      display.finish(f"[red]failed:[/red] {escape(str(error))}")
      return
    self._workdir.record(record)
    self._records[record["cell"]] = record
    self._workdir.stages(record["cell"]).clear()
    display.finish(f"CA {record['ca']:.4f}  ASR {record['asr']:.4f}")

  def _run(self, cell: Cell, display: Display) -> Record:
    root = self._book.id(cell.root)
    if root in self.failures:
      raise FloatingPointError(self.failures[root])
    backdoor = self._planter.backdoor(cell, display)
    if cell.defense is None:
      return self._score_planted(cell, backdoor)
    return self._defend(cell, backdoor, display)

  # Many cells as one program.

  def _run_together(self, display: Display) -> None:
    """Plants and defends in groups; leaves to `run` what is not."""
    mesh = meshes.make()
    width = hosts.agreed(widths.chosen(self._plan))
    todo = self.todo()
    roots = list({self._book.planted(c): c.root for c in todo}.values())
    missing = [cell for cell in roots if not self._planter.has(cell)]
    for group in groups.planting(missing):
      with self._blamed(group, display):
        self._plant_group(group, mesh, width, display)
    for cell in todo:
      if cell.defense is None and self._book.id(cell) not in self.failures:
        self._attempt(cell, display, functools.partial(self._run, cell))
    defended = [
      cell
      for cell in todo
      if cell.defense and self._book.id(cell.root) not in self.failures
    ]
    for group in groups.defending(defended):
      with self._blamed(group, display):
        self._defend_group(group, mesh, width, display)

  @contextlib.contextmanager
  def _blamed(self, group: groups.Group, display: Display) -> Iterator[None]:
    """Fails a group's unfinished cells if their program cannot be made."""
    try:
      yield
    except (FloatingPointError, ValueError) as error:
      display.finish(f"[red]failed:[/red] {escape(str(error))}")
      for name in map(self._book.id, group.cells):
        if name not in self._records:
          self.failures.setdefault(name, str(error))

  def _plant_group(
    self, group: groups.Group, mesh: Mesh, width: int, display: Display
  ) -> None:
    first, cells = group.cells[0], group.cells
    display.start(f"{first.attack.name} · plant {len(cells)} together")
    task = parties.adversary(self._plan, first)
    clean = functools.partial(self._plan.scenario.made.clean, first.key)
    given = None
    if together.needs_clean(first, task, lambda t: clean(t, loop.scan_fit)):

      def given(place):
        return self._planter.clean(cells[place], display)

    for done in together.plant(group, task, given, mesh, width=width):
      cell = cells[done.place]
      display.stage("members", done.place + 1, len(cells), {})
      if together.diverged(done.result):
        self.failures[self._book.id(cell)] = together.DIVERGED
      else:
        self._workdir.curves(self._book.planted(cell), done.journal)
        self._planter.save(cell, done.result, done.spent)

  def _defend_group(
    self, group: groups.Group, mesh: Mesh, width: int, display: Display
  ) -> None:
    cells, held = group.cells, {}
    display.start(f"{cells[0].defense.name} · defend {len(cells)} together")

    def access(place):
      backdoor = self._planter.backdoor(cells[place], display)
      held[place] = backdoor, parties.user(self._plan, cells[place], backdoor)
      return held[place][1]

    for done in together.defend(group, access, mesh, width=width):
      cell = cells[done.place]
      self._workdir.curves(self._book.id(cell), done.journal)
      finish = functools.partial(
        self._finish, cell, *held.pop(done.place), done.result, done.spent
      )
      self._attempt(cell, display, finish)

  def _score_planted(self, cell: Cell, backdoor: Backdoor) -> Record:
    planted = self._book.planted(cell)
    spent = self._planter.spent(cell)
    plan = self._plan
    access = plan.scenario.made.look(
      experiment.key_for(cell.key, "look"),
      Access(backdoor.variables, plan.user.train, model=plan.model.made),
      plan.user.info.num_classes,
    )
    counts, more = self._scorer.score(
      cell, Defended(access.variables), access, backdoor
    )
    self._workdir.picture(planted, pictures(cell, backdoor, plan))
    before = {f"{k}_before": v for k, v in rates(counts).items()}
    return self._book.record(
      cell, counts, _sum(spent, more), before=before, clean_images=0
    )

  # Defending.

  def _defend(self, cell: Cell, backdoor: Backdoor, display: Display) -> Record:
    defense, name, journal = cell.defense, self._book.id(cell), loop.Journal()
    access = parties.user(self._plan, cell, backdoor)
    fit = loop.host_fit(
      store=self._workdir.stages(name),
      journal=journal,
      probe=self._scorer.probe(cell, access, backdoor),
      progress=display.stage,
      mesh=self._mesh,
      unseen=self._workdir.unseen,
    )
    start = time.perf_counter()
    state = experiment.defend(cell.key, defense.made, access, fit)
    jax.block_until_ready(state)
    spent = journal.spent(time.perf_counter() - start)
    self._workdir.curves(name, journal)
    return self._finish(cell, backdoor, access, state, spent, display)

  def _finish(
    self,
    cell: Cell,
    backdoor: Backdoor,
    access: Access,
    state: Defended,
    spent: dict[str, float],
    display: Display,
  ) -> Record:
    """Scores a defended model, unless its weights are lost."""
    if together.diverged(state):
      raise FloatingPointError(together.DIVERGED)
    if self._plan.sequela:
      self._planter.keep(self._book.id(cell), state.variables)
    counts, more = self._scorer.score(cell, state, access, backdoor)
    found, extra = self._scorer.audit(cell, state, access, backdoor)
    self._workdir.findings(self._book.id(cell), findings(state.memo))
    elsewhere = self._plan.scenario.made.elsewhere
    record = self._book.record(
      cell,
      counts,
      _sum(_sum(spent, more), extra),
      before=None if elsewhere else self._records[self._book.id(cell.root)],
      clean_images=access.clean.size,
    )
    if elsewhere:
      found |= self._compared(cell, counts, backdoor, display)
    return record | found

  def _compared(
    self,
    cell: Cell,
    counts: dict[str, Any],
    backdoor: Backdoor,
    display: Display,
  ) -> dict[str, float]:
    """Returns what triggers do in another task, and to a clean model there.

    The clean model is tuned by the same user in the same way, and scored on the
    very images.
    """

    def tuned(fit):
      clean = self._planter.clean(cell, display)
      access = parties.user(
        self._plan, cell, backdoor._replace(variables=clean)
      )
      return experiment.defend(
        cell.key, cell.defense.made, access, fit
      ).variables

    access = parties.user(self._plan, cell, backdoor)
    variables = self._planter.kept(
      self._book.baseline(cell), display, tuned, like=lambda: access.variables
    )
    clean, _ = self._scorer.score(cell, Defended(variables), access, backdoor)
    own, other = rates(counts), rates(clean)
    found = metrics.rates_elsewhere(counts)
    found |= {f"clean_{k}": other[k] for k in ("ca", "asr", "ta", "collapse")}
    return found | {"drop": own["ta"] - other["ta"]}


def _sum(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
  return {k: v + other.get(k, 0.0) for k, v in one.items()}
