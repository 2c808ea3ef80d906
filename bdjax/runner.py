"""Runs a plan cell by cell in a workdir, and continues where a kill left it.

A cell is (attack, regime, seed, defense). Its backdoored model is planted once,
kept under a key of what decides it, and shared by its defenses and later runs.
"""

import functools
import time

import jax
from rich.markup import escape

from bdjax import augment, checkpoint, experiment, loop, metrics, settings
from bdjax.cells import Book, Cell, pictures
from bdjax.progress import Display
from bdjax.results import Record
from bdjax.scorer import Scorer, findings
from bdjax.types import Access, Backdoor, Defended, Fit, Params, Task
from bdjax.workdir import Workdir


class Runner:
  """Runs one plan in one workdir."""

  def __init__(self, plan: settings.Plan, workdir: Workdir):
    """Prepares to run what the workdir lacks."""
    self._plan, self._workdir = plan, workdir
    self._book, self._scorer = Book(plan), Scorer(plan)
    self._records = workdir.records()
    self._view = augment.standard(padding=plan.info.crop, mirror=plan.info.flip)
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
    plant = functools.partial(
      experiment.plant, cell.key, cell.attack.made, fit=loop.scan_fit
    )
    like = jax.eval_shape(lambda task: plant(task=task), self._task(cell))
    return checkpoint.load(path, like)

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
    """Returns the seed's clean classifier, kept for all attacks and runs."""
    del fit  # the attack's: its stages and its time are not this model's
    start = time.perf_counter()
    name = self._book.clean(cell)
    path, task = self._workdir.model(name), self._task(cell)
    train = functools.partial(experiment.clean_model, cell.key)
    if checkpoint.exists(path):
      like = jax.eval_shape(lambda task: train(task, loop.scan_fit), task)
      found = checkpoint.load(path, like)
    else:
      stages = self._workdir.stages(name)
      fit = loop.host_fit(store=stages, progress=display.stage)
      found = train(task, fit)
      checkpoint.save(path, found, note={"seed": cell.seed})
      stages.clear()
    journal.seconds += time.perf_counter() - start
    return found

  def _task(self, cell: Cell) -> Task:
    return Task(
      train=self._plan.train,
      model=self._plan.model.made,
      recipe=self._plan.recipe,
      regime=cell.regime.made,
      view=self._view,
    )

  def _score_planted(self, cell: Cell, backdoor: Backdoor) -> Record:
    planted = self._book.planted(cell)
    spent = checkpoint.note(self._workdir.model(planted))["spent"]
    access = Access(backdoor.variables, model=self._plan.model.made)
    counts, more = self._scorer.score(
      cell, Defended(backdoor.variables), access, backdoor
    )
    self._workdir.picture(planted, pictures(cell, backdoor, self._plan))
    rates = metrics.rates(counts)
    before = {f"{k}_before": v for k, v in rates.items()}
    return self._book.record(
      cell, counts, _sum(spent, more), before=before, clean_images=0
    )

  # Defending.

  def _defend(self, cell: Cell, backdoor: Backdoor, display: Display) -> Record:
    guard, name, journal = cell.guard, self._book.id(cell), loop.Journal()
    clean = experiment.clean_subset(cell.key, self._plan.train, guard.holding)
    access = experiment.access_to(backdoor, self._task(cell), clean)
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
    record = self._book.record(
      cell,
      counts,
      _sum(_sum(spent, more), extra),
      before=self._records[self._book.id(cell.root)],
      clean_images=clean.size,
    )
    return record | found


def _spent(journal: loop.Journal, wall: float) -> dict[str, float]:
  """Splits a program's time; what is no epoch's counts as training."""
  parts = {
    k: journal.total(f"seconds_{k}") for k in ("compile", "train", "eval")
  }
  parts["train"] += max(0.0, wall - journal.seconds)
  return parts


def _sum(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
  return {k: v + other.get(k, 0.0) for k, v in one.items()}
