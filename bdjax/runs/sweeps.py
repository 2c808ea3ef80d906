"""Plants or defends many cells as one program; see `training.sweep`.

Cells of one program differ in numbers and seeds alone: static arguments decide
shapes and program text, so cells are grouped by them. Within a group numbers
(`signature.Argument.sweepable`) that differ are traced; the rest stay as in a
cell run by itself. Every member computes what its cell computes by itself: its
randomness follows from its own seed, and `scan_fit` runs the same epochs as
`host_fit`.
"""

import contextlib
import functools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from bdjax.machine import hosts
from bdjax.machine import mesh as meshes
from bdjax.runs import experiment, knowledge, models, plans
from bdjax.runs.cells import Cell
from bdjax.runs.methods import Method
from bdjax.runs.session import Session
from bdjax.training import loop, sweep
from bdjax.training.journal import Journal
from bdjax.types import Access, Array, Defense, Fit, Metrics, Params

# (fit, what all share, a cell's key, numbers and more) -> its result
Member = Callable[[Fit, Params, Params], Any]
Hold = contextlib.AbstractContextManager[Sequence[int]]


class Group(NamedTuple):
  """Cells of one program, and the numbers that tell them apart."""

  cells: list[Cell]
  numbers: dict[str, np.ndarray]  # argument -> [cells]

  def only(self, cells: Sequence[Cell]) -> "Group":
    """Returns the group of some of its cells."""
    places = [self.cells.index(cell) for cell in cells]
    return Group([*cells], {k: v[places] for k, v in self.numbers.items()})

  def title(self, method: Method, doing: str) -> str:
    """Returns what is said while its cells are planted or defended."""
    count = len(self.cells)
    together = f" {count} together" if count > 1 else ""
    return f"{method.name} · {doing}{together}"


def planting(cells: Sequence[Cell]) -> list[Group]:
  """Returns groups of cells whose planting is one program."""
  return _grouped(cells, lambda cell: cell.attack, lambda c: c.regime.label)


def defending(cells: Sequence[Cell]) -> list[Group]:
  """Returns groups of cells whose defense is one program, over all attacks."""
  return _grouped(cells, lambda c: c.defense, lambda c: list(c.defense.holding))


def _grouped(
  cells: Sequence[Cell],
  method_of: Callable[[Cell], Method],
  beside: Callable[[Cell], Any],
) -> list[Group]:
  groups: dict[str, list[Cell]] = {}
  for cell in cells:
    method = method_of(cell)
    fixed = {k: v for k, v in method.args.items() if k not in method.numbers}
    key = json.dumps([method.name, fixed, beside(cell)], default=str)
    groups.setdefault(key, []).append(cell)
  return [Group(same, _differing(same, method_of)) for same in groups.values()]


def _differing(
  cells: list[Cell], method_of: Callable[[Cell], Method]
) -> dict[str, np.ndarray]:
  methods = [method_of(cell) for cell in cells]
  values = {k: [m.args[k] for m in methods] for k in methods[0].numbers}
  return {
    k: np.asarray(v, np.float32) for k, v in values.items() if len(set(v)) > 1
  }


class Done(NamedTuple):
  """A member's result, its share of the time, and a row per epoch."""

  place: int  # in its group
  result: Any
  spent: dict[str, float]
  journal: Journal


def plant(
  session: Session, group: Group, mesh: Mesh, *, width: int
) -> Iterator[Done]:
  """Plants a group's backdoors, a chunk at a time.

  Of several runs on one store, one plants a chunk's models; the others wait,
  and leave out what is planted by then.

  Args:
    session: the run, which trains the clean victims that an attack starts from.
    group: cells of one attack and regime.
    width: members that a device trains at once.
  """
  attack = group.cells[0].attack
  task = knowledge.adversary(session.plan, group.cells[0])

  def clean(place):
    return models.clean(session, group.cells[place]) if starts_clean else ()

  starts_clean = needs_clean(session.plan, group.cells[0])
  hold = functools.partial(_missing, session, group)
  for done in _run(group, planter(attack), task, clean, mesh, width, hold):
    key = group.cells[done.place].key
    method = attack.at(_numbers(group, done.place))
    train = experiment.poisoned(key, method, task, done.result)
    yield done._replace(result=done.result._replace(train=train))


@contextlib.contextmanager
def _missing(
  session: Session, group: Group, places: Sequence[int]
) -> Iterator[list[int]]:
  """Reserves a chunk's models, and yields the places that lack theirs."""
  cells = {place: group.cells[place] for place in places}
  with session.workdir.reserved(*map(session.names.planted, cells.values())):
    yield [
      place
      for place, cell in cells.items()
      if not hosts.agreed(models.planted(session, cell))
    ]


def planter(attack: Method) -> Member:
  """Returns what plants a cell's backdoor; its cells share their task."""

  def member(fit, task, inputs):
    task = task.replace(clean=lambda fit: inputs["more"])
    method = attack.at(inputs["numbers"])
    backdoor = experiment.plant(inputs["key"], method, task, fit)
    return backdoor._replace(train=())  # made again where it is kept

  return member


def needs_clean(plan: plans.Plan, cell: Cell) -> bool:
  """Returns whether a cell's attack starts from a clean victim."""
  task, asking = knowledge.traced(plan, cell)
  attack, fit = cell.attack.built, loop.scan_fit
  jax.eval_shape(lambda t: experiment.plant(cell.key, attack, t, fit), task)
  return bool(asking)


def without_victim(session: Session, group: Group) -> dict[Cell, Exception]:
  """Trains the clean victims that a group's attack starts from.

  Returns:
    The cells whose victim diverged, and how.
  """
  lost: dict[Cell, Exception] = {}
  if needs_clean(session.plan, group.cells[0]):
    victims: dict[str, list[Cell]] = {}
    for cell in group.cells:
      victims.setdefault(session.names.clean(cell), []).append(cell)
    for cells in victims.values():
      try:
        models.clean(session, cells[0])
      except FloatingPointError as error:
        lost |= dict.fromkeys(cells, error)
  return lost


def defend(
  group: Group, access: Callable[[int], Access], mesh: Mesh, *, width: int
) -> Iterator[Done]:
  """Defends a group's models, a chunk at a time.

  Args:
    group: cells of one defense, of any attacks.
    access: place in the group -> what that cell's defender has.
    width: members that a device trains at once.
  """
  defense = group.cells[0].defense

  def more(place):
    return needed(defense.built, access(place))

  yield from _run(group, defender(defense), (), more, mesh, width)


def defender(defense: Method) -> Member:
  """Returns what defends a cell's model; its cells share nothing."""

  def member(fit, nothing, inputs):
    del nothing
    method = defense.at(inputs["numbers"])
    return experiment.defend(inputs["key"], method, inputs["more"], fit)

  return member


def needed(defense: Defense, access: Access) -> Access:
  """Returns an access without the training set, where a defense reads none."""
  return access if defense.needs_train else access.replace(train=None)


def _run(
  group: Group,
  member: Member,
  shared: Params,
  more: Callable[[int], Params],
  mesh: Mesh,
  width: int,
  hold: Callable[[Sequence[int]], Hold] = contextlib.nullcontext,
) -> Iterator[Done]:
  devices = meshes.members(mesh)
  size = sweep.chunk_size(len(group.cells), devices, width)
  shared = meshes.place(shared, meshes.everywhere(mesh))
  recorder = _Recorder(member)
  program, compiling = None, 0.0
  for chunk in sweep.chunks(range(len(group.cells)), size):
    hosts.stop_if_told()  # all members of earlier chunks are kept by now
    with hold(chunk) as places:
      if not places:
        continue
      owned = [_inputs(group, place, more(place)) for place in places]
      stacked = sweep.stack(owned, mesh, size=size)
      start = time.perf_counter()
      if program is None:
        program = sweep.program(recorder, mesh, shared, stacked)
        compiling = (time.perf_counter() - start) / len(group.cells)
        start = time.perf_counter()
      outputs = jax.block_until_ready(program(shared, stacked))
      training = (time.perf_counter() - start) / len(places)
      spent = {"compile": compiling, "train": training, "eval": 0.0}
      for place, (result, metrics) in zip(
        places, sweep.unstack(outputs, len(places)), strict=True
      ):
        yield Done(place, result, spent, recorder.journal(metrics))


def _inputs(group: Group, place: int, more: Params) -> dict[str, Any]:
  key = group.cells[place].key
  return {"key": key, "numbers": _numbers(group, place), "more": more}


def _numbers(group: Group, place: int) -> dict[str, Array]:
  return {k: jnp.asarray(values[place]) for k, values in group.numbers.items()}


class _Recorder:
  """A member that also returns what `journal` reads, stage by stage."""

  def __init__(self, member: Member) -> None:
    self._member = member
    self._stages: list[str] = []

  def __call__(
    self, shared: Params, inputs: Params
  ) -> tuple[Any, list[tuple[Metrics, Array | None]]]:
    self._stages, metrics = [], []

    def fit(*args, name, params=None, **options):
      del params
      state, history, rates = loop.scan_steps(*args, **options)
      self._stages.append(name)
      metrics.append((history, rates))
      return state, history

    return self._member(fit, shared, inputs), metrics

  def journal(self, metrics: list[tuple[Metrics, Array | None]]) -> Journal:
    """Returns a row per epoch: mean metrics, and learning rates of steps."""
    rows = []
    for stage, (columns, rates) in zip(self._stages, metrics, strict=True):
      for e in range(min(map(len, columns.values()), default=0)):
        row = {name: float(values[e]) for name, values in columns.items()}
        if rates is not None:
          row["lr"] = np.asarray(rates[e], float).tolist()
        rows.append({"stage": stage, "epoch": e + 1, **row})
    return Journal(rows)
