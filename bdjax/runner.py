"""Runs a plan cell by cell in a workdir, and continues where a kill left it.

A cell is (attack, regime, seed, defense). Its backdoored model is planted once,
kept under a key of what decides it, and shared by its defenses and later runs.
"""

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
from rich.markup import escape

from bdjax import augment, checkpoint, experiment, loop, metrics, settings
from bdjax.cells import Book, Cell, pictures
from bdjax.progress import Display
from bdjax.results import Record
from bdjax.scorer import Scorer, findings, rates
from bdjax.types import Access, Backdoor, Defended, Fit, Params, Task
from bdjax.workdir import Workdir


class Runner:
  """Runs one plan in one workdir."""

  def __init__(self, plan: settings.Plan, workdir: Workdir):
    """Prepares to run what the workdir lacks."""
    self._plan, self._workdir = plan, workdir
    self._book, self._scorer = Book(plan), Scorer(plan)
    self._records = workdir.records()
    self._view, self._user_view = (
      augment.standard(padding=info.crop, mirror=info.flip)
      for info in (plan.info, plan.user.info)
    )
    self._planted: tuple[str, Backdoor] | None = None
    self.failures: dict[str, str] = {}

  def cells(self) -> list[Cell]:
    """Returns the plan's cells."""
    return self._book.cells()

  def todo(self) -> list[Cell]:
    """Returns the cells that are not finished."""
    return [c for c in self.cells() if self._book.id(c) not in self._records]

  def run(self, display: Display) -> None:
    """Runs the unfinished cells; `failures` gets those that cannot be.

    They diverge, or a method finds that it cannot work on this data.
    """
    for cell in self.todo():
      display.start(str(cell))
      try:
        record = self._run(cell, display)
      except (FloatingPointError, ValueError) as error:
        self.failures[self._book.id(cell)] = str(error)
        display.finish(f"[red]failed:[/red] {escape(str(error))}")
        continue
      self._workdir.record(record)
      self._records[record["cell"]] = record
      self._workdir.stages(record["cell"]).clear()
      display.finish(f"CA {record['ca']:.4f}  ASR {record['asr']:.4f}")

  def _run(self, cell: Cell, display: Display) -> Record:
    root = self._book.id(cell.root)
    if root in self.failures:
      raise FloatingPointError(self.failures[root])
    backdoor = self._model(cell, display)
    if cell.guard is None:
      return self._score_planted(cell, backdoor)
    return self._defend(cell, backdoor, display)

  # Planting.

  def _model(self, cell: Cell, display: Display) -> Backdoor:
    planted = self._book.planted(cell)
    if self._planted is None or self._planted[0] != planted:
      self._planted = None  # frees the previous model
      found = self._load(cell) or self._plant(cell, display)
      self._planted = planted, found
    return self._planted[1]

  def _load(self, cell: Cell) -> Backdoor | None:
    path = self._workdir.model(self._book.planted(cell))
    if not checkpoint.exists(path):
      return None
    clean = self._plan.scenario.made.clean

    def plant(task):
      task = task.replace(clean=functools.partial(clean, cell.key, task))
      return experiment.plant(cell.key, cell.attack.made, task, loop.scan_fit)

    return checkpoint.load(path, jax.eval_shape(plant, self._task(cell)))

  def _plant(self, cell: Cell, display: Display) -> Backdoor:
    planted, journal = self._book.planted(cell), loop.Journal()
    stages = self._workdir.stages(planted)
    fit = loop.host_fit(store=stages, journal=journal, progress=display.stage)
    clean = functools.partial(self._clean, cell, journal, display)
    task = self._task(cell).replace(clean=clean)
    start = time.perf_counter()
    backdoor = experiment.plant(cell.key, cell.attack.made, task, fit)
    jax.block_until_ready(backdoor)
    spent = _spent(journal, time.perf_counter() - start)
    self._workdir.curves(planted, journal)
    note = {"key": self._book.key(cell), "spent": spent}
    checkpoint.save(self._workdir.model(planted), backdoor, note=note)
    stages.clear()
    return backdoor

  def _clean(
    self, cell: Cell, journal: loop.Journal, display: Display, fit: Fit
  ) -> Params:
    """Returns the seed's clean victim, kept for all attacks and runs."""
    del fit  # the attack's: its stages and its time are not this model's
    start = time.perf_counter()
    train = functools.partial(self._plan.scenario.made.clean, cell.key)
    task = self._task(cell)
    found = self._kept(
      self._book.clean(cell),
      display,
      lambda fit: train(task, fit),
      like=lambda: jax.eval_shape(lambda t: train(t, loop.scan_fit), task),
    )
    journal.seconds += time.perf_counter() - start
    return found

  def _kept(
    self,
    name: str,
    display: Display,
    train: Callable[[Fit], Params],
    *,
    like: Callable[[], Params],
  ) -> Params:
    """Returns what a training gives, from the store if it is there."""
    path = self._workdir.model(name)
    if checkpoint.exists(path):
      return checkpoint.load(path, like())
    stages = self._workdir.stages(name)
    found = train(loop.host_fit(store=stages, progress=display.stage))
    checkpoint.save(path, found, note={})
    stages.clear()
    return found

  def _task(self, cell: Cell) -> Task:
    return Task(
      train=self._plan.train,
      model=self._plan.model.made,
      recipe=self._plan.recipe,
      regime=cell.regime.made,
      view=self._view,
      examples=self._plan.user.test if self._plan.encoder else None,
    )

  def _score_planted(self, cell: Cell, backdoor: Backdoor) -> Record:
    planted = self._book.planted(cell)
    spent = checkpoint.note(self._workdir.model(planted))["spent"]
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
    guard, name, journal = cell.guard, self._book.id(cell), loop.Journal()
    access = self._access(cell, backdoor)
    fit = loop.host_fit(
      store=self._workdir.stages(name),
      journal=journal,
      probe=self._scorer.probe(cell, access, backdoor),
      progress=display.stage,
    )
    start = time.perf_counter()
    state = experiment.defend(cell.key, guard.made, access, fit)
    jax.block_until_ready(state)
    spent = _spent(journal, time.perf_counter() - start)
    counts, more = self._scorer.score(cell, state, access, backdoor)
    found, extra = self._scorer.audit(cell, state, access, backdoor)
    self._workdir.curves(name, journal)
    self._workdir.findings(name, findings(state.memo))
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

  def _access(self, cell: Cell, backdoor: Backdoor) -> Access:
    """Returns what the user of a planted model has, and tunes."""
    plan = self._plan
    clean = experiment.clean_subset(
      cell.key, plan.user.train, cell.guard.holding
    )
    access = experiment.access_to(backdoor, self._task(cell), clean)
    return plan.scenario.made.start(
      experiment.key_for(cell.key, "head"),
      access.replace(view=self._user_view),
      plan.user.info.num_classes,
    )

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
      clean = self._clean(cell, loop.Journal(), display, fit)
      access = self._access(cell, backdoor._replace(variables=clean))
      return experiment.defend(cell.key, cell.guard.made, access, fit).variables

    access = self._access(cell, backdoor)
    variables = self._kept(
      self._book.baseline(cell), display, tuned, like=lambda: access.variables
    )
    clean, _ = self._scorer.score(cell, Defended(variables), access, backdoor)
    own, other = rates(counts), rates(clean)
    found = {k: own[k] for k in metrics.ELSEWHERE}
    found |= {f"clean_{k}": other[k] for k in ("ca", "asr", "ta", "collapse")}
    return found | {"drop": own["ta"] - other["ta"]}


def _spent(journal: loop.Journal, wall: float) -> dict[str, float]:
  """Splits a program's time; what is no epoch's counts as training."""
  parts = {
    k: journal.total(f"seconds_{k}") for k in ("compile", "train", "eval")
  }
  parts["train"] += max(0.0, wall - journal.seconds)
  return parts


def _sum(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
  return {k: v + other.get(k, 0.0) for k, v in one.items()}
