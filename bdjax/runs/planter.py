"""Plants models, or finds them planted: each once, for all who need it."""

import functools
import time
from collections.abc import Callable

import jax
from jax.sharding import Mesh

from bdjax.runs import experiment, parties, plans
from bdjax.runs.cells import Book, Cell
from bdjax.runs.workdir import Workdir
from bdjax.sequela import Shadow
from bdjax.training import checkpoint, loop
from bdjax.training.progress import Display
from bdjax.types import Backdoor, Fit, Params


class Planter:
  """Keeps a plan's models in a workdir's store."""

  def __init__(
    self,
    plan: plans.Plan,
    workdir: Workdir,
    book: Book,
    *,
    mesh: Mesh | None = None,
  ):
    """Prepares to plant what the store lacks, on devices that share batches."""
    self._plan, self._workdir, self._book = plan, workdir, book
    self._mesh = mesh
    self._latest: tuple[str, Backdoor] | None = None

  def backdoor(self, cell: Cell, display: Display) -> Backdoor:
    """Returns a cell's planted model, planting it if need be."""
    planted = self._book.planted(cell)
    if self._latest is None or self._latest[0] != planted:
      self._latest = None  # frees the previous model
      found = self.load(cell) if self.has(cell) else self._plant(cell, display)
      self._latest = planted, found
    return self._latest[1]

  def has(self, cell: Cell) -> bool:
    """Returns whether the store holds a cell's planted model."""
    return checkpoint.exists(self._workdir.model(self._book.planted(cell)))

  def load(self, cell: Cell) -> Backdoor:
    """Returns a cell's planted model from the store."""
    path = self._workdir.model(self._book.planted(cell))
    clean = self._plan.scenario.made.clean

    def plant(task):
      task = task.replace(clean=functools.partial(clean, cell.key, task))
      return experiment.plant(cell.key, cell.attack.made, task, loop.scan_fit)

    return checkpoint.load(
      path, jax.eval_shape(plant, parties.adversary(self._plan, cell))
    )

  def save(
    self, cell: Cell, backdoor: Backdoor, spent: dict[str, float]
  ) -> None:
    """Puts a planted model in the store, with the seconds it took."""
    path = self._workdir.model(self._book.planted(cell))
    note = {"key": self._book.key(cell), "spent": spent}
    checkpoint.save(path, backdoor, note=note)

  def spent(self, cell: Cell) -> dict[str, float]:
    """Returns the seconds that a cell's planted model took."""
    path = self._workdir.model(self._book.planted(cell))
    return checkpoint.note(path)["spent"]

  def _plant(self, cell: Cell, display: Display) -> Backdoor:
    planted, journal = self._book.planted(cell), loop.Journal()
    stages = self._workdir.stages(planted)
    fit = loop.host_fit(
      store=stages,
      journal=journal,
      progress=display.stage,
      mesh=self._mesh,
      unseen=self._workdir.unseen,
    )

    def clean(fit):
      del fit  # the attack's: its stages and its time are not this model's
      start = time.perf_counter()
      found = self.clean(cell, display)
      journal.seconds += time.perf_counter() - start
      return found

    task = parties.adversary(self._plan, cell).replace(clean=clean)
    start = time.perf_counter()
    backdoor = experiment.plant(cell.key, cell.attack.made, task, fit)
    jax.block_until_ready(backdoor)
    spent = journal.spent(time.perf_counter() - start)
    self._workdir.curves(planted, journal)
    self.save(cell, backdoor, spent)
    stages.clear()
    return backdoor

  def clean(self, cell: Cell, display: Display) -> Params:
    """Returns the seed's clean victim, kept for all attacks and runs."""
    train = functools.partial(self._plan.scenario.made.clean, cell.key)
    task = parties.adversary(self._plan, cell)
    return self.kept(
      self._book.clean(cell),
      display,
      lambda fit: train(task, fit),
      like=lambda: jax.eval_shape(lambda t: train(t, loop.scan_fit), task),
    )

  def shadow(self, cell: Cell, display: Display) -> Shadow:
    """Returns the seed's shadow model, kept for all sequela and runs."""
    plan, task = self._plan, parties.shadow(self._plan, cell)
    key = experiment.key_for(cell.key, "shadow")
    train = functools.partial(experiment.clean_model, key, task)
    variables = self.kept(
      self._book.shadow(cell),
      display,
      train,
      like=lambda: jax.eval_shape(lambda: train(loop.scan_fit)),
    )
    member = parties.shadowed(plan, cell)
    return Shadow(variables, plan.train, member, model=plan.model.made)

  def defended(self, cell: Cell, display: Display) -> Params:
    """Returns a cell's defended model, repairing it again if it was not kept.

    That is so where its cell was finished before anybody asked for sequela.
    """
    backdoor = self.backdoor(cell, display)
    access = parties.user(self._plan, cell, backdoor)

    def tuned(fit):
      return experiment.defend(
        cell.key, cell.defense.made, access, fit
      ).variables

    return self.kept(
      self._book.id(cell), display, tuned, like=lambda: backdoor.variables
    )

  def keep(self, name: str, variables: Params) -> None:
    """Puts a model in the store, for `kept`."""
    checkpoint.save(self._workdir.model(name), variables, note={})

  def kept(
    self,
    name: str,
    display: Display,
    train: Callable[[Fit], Params],
    *,
    like: Callable[[], Params],
  ) -> Params:
    """Returns what a training gives, from the store if it is there.

    Args:
      name: in the store.
      display: shows the training.
      train: the training.
      like: shapes of what it gives.
    """
    path = self._workdir.model(name)
    if checkpoint.exists(path):
      return checkpoint.load(path, like())
    stages = self._workdir.stages(name)
    found = train(
      loop.host_fit(
        store=stages,
        progress=display.stage,
        mesh=self._mesh,
        unseen=self._workdir.unseen,
      )
    )
    self.keep(name, found)
    stages.clear()
    return found
