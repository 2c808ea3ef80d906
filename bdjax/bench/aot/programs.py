"""bdjax's programs, lowered for devices that are only described.

Epochs are those that `host_fit` compiles for a method's stages: the method is
traced with a `fit` that notes what it is asked to train (`bdjax.work`). Arrays
are shapes throughout, so nothing is computed.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.extend.core as jex
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from bdjax import (
  augment,
  evaluate,
  experiment,
  inference,
  learn,
  loop,
  poison,
  regimes,
  registry,
  simclr,
  sweep,
  work,
)
from bdjax import mesh as meshes
from bdjax.bench.aot import targets
from bdjax.types import Access, Dataset, Defended, Params, Recipe, Step, Task

# Images that methods handle at once outside of their own training's batches.
_PARTS = {poison.PART, inference.BATCH}


class Images(NamedTuple):
  """A dataset's shape."""

  count: int
  side: int
  classes: int


CIFAR10 = Images(50000, 32, 10)
TEST = CIFAR10._replace(count=10000)


class Program(NamedTuple):
  """A program to compile.

  Attributes:
    name: of the stage.
    lowered: for the target.
    flop: of a device in one run, as `bdjax.work` counts.
    batches: images that a device handles at once, in its kinds of batches.
    size: images of the set.
    grouped: whether grouped convolutions are expected: several members at once.
  """

  name: str
  lowered: jax.stages.Lowered
  flop: float
  batches: set[int]
  size: int
  grouped: bool = False


def train(
  devices: list[jax.Device],
  *,
  model: str,
  args: dict[str, Any],
  batch: int,
  images: Images = CIFAR10,
  share: bool = False,
) -> Iterator[Program]:
  """Yields the epoch of plain training.

  Args:
    devices: the target's.
    model: by name.
    args: its arguments.
    batch: images of a step, on all devices together.
    images: the training set.
    share: whether all devices share a batch; else one has it.
  """
  net = _model(model, images, args)

  def method(fit, key, data):
    return learn.train_classifier(
      key,
      data,
      fit,
      model=net,
      recipe=Recipe(batch_size=batch),
      view=augment.standard(),
    )

  data = len(devices) if share else 1
  mesh = targets.mesh(devices if share else devices[:1], data=data)
  yield from _stages(method, mesh, _key(), _dataset(images))


def plant(
  devices: list[jax.Device],
  *,
  attack: str,
  regime: str,
  model: str,
  args: dict[str, Any],
  batch: int,
  images: Images = CIFAR10,
) -> Iterator[Program]:
  """Yields the epochs that an attack trains; arguments are `train`'s.

  Args:
    devices: the target's.
    attack: by name, with its own arguments.
    regime: by name.
    model: of the victim.
    args: the model's.
    batch: images of a step.
    images: the training set.
  """
  made = registry.get("attacks", attack)()
  task = _task(_model(model, images, args), batch, regime)

  def method(fit, key, data):
    return experiment.plant(key, made, task(data), fit)

  mesh = targets.mesh(devices[:1])
  yield from _stages(method, mesh, _key(), _dataset(images))


def defend(
  devices: list[jax.Device],
  *,
  defense: str,
  options: dict[str, Any],
  model: str,
  args: dict[str, Any],
  images: Images = CIFAR10,
  rate: float = 0.05,
) -> Iterator[Program]:
  """Yields the epochs that a defense trains.

  Args:
    devices: the target's.
    defense: by name.
    options: its arguments.
    model: of the suspect.
    args: the model's.
    images: the training set.
    rate: share of it that the defender holds.
  """
  made = registry.get("defenses", defense)(**options)
  net = _model(model, images, args)

  def method(fit, key, access):
    return experiment.defend(key, made, access, fit)

  mesh = targets.mesh(devices[:1])
  access = _access(net, images, rate)
  yield from _stages(method, mesh, _key(), access)


def pretrain(
  devices: list[jax.Device],
  *,
  model: str,
  args: dict[str, Any],
  batch: int,
  images: Images = CIFAR10,
) -> Iterator[Program]:
  """Yields SimCLR's epoch; arguments are `train`'s."""
  net = _model(model, images._replace(classes=0), args)

  def method(fit, key, data):
    return simclr.pretrain(
      key,
      data,
      fit,
      encoder=net,
      epochs=1,
      batch_size=batch,
      lr=1e-3,
      weight_decay=1e-6,
      temperature=0.5,
    )

  mesh = targets.mesh(devices[:1])
  for program in _stages(method, mesh, _key(), _dataset(images)):
    yield program._replace(batches=program.batches | {2 * batch})


def score(
  devices: list[jax.Device],
  *,
  model: str,
  args: dict[str, Any],
  attack: str = "badnets",
  batch: int = 500,
  images: Images = TEST,
) -> Iterator[Program]:
  """Yields the program that scores a model, clean and triggered."""
  net, made = _model(model, images, args), registry.get("attacks", attack)()
  planted, _ = work.stages(
    lambda fit, key, data: experiment.plant(
      key, made, _task(net, 128, "conventional")(data), fit
    ),
    _key(),
    _dataset(images),
  )

  def run(test, params, variables) -> evaluate.Counts:
    return experiment.score(
      Defended(variables),
      Access(variables, model=net),
      test,
      params,
      attack=made,
      batch_size=batch,
    )

  whole = meshes.everywhere(targets.mesh(devices[:1]))
  given = (_dataset(images), planted.params, planted.variables)
  given = _laid(given, whole)
  flop = work.flop(work.needed(jax.make_jaxpr(run)(*given).jaxpr))
  lowered = jax.jit(run).lower(*given)
  yield Program("score", lowered, flop, {batch}, images.count)


def planting_sweep(
  devices: list[jax.Device],
  *,
  attack: str,
  model: str,
  args: dict[str, Any],
  batch: int,
  width: int,
  images: Images = CIFAR10,
) -> Iterator[Program]:
  """Yields a sweep that plants, and what its processes then exchange.

  Args:
    devices: the target's; each takes `width` members.
    attack: by name.
    model: of the victims.
    args: the model's.
    batch: images of a member's step.
    width: members of a device at once.
    images: the training set that members share.
  """
  made = registry.get("attacks", attack)()
  task = _task(_model(model, images, args), batch, "conventional")

  def member(data, own):
    return experiment.plant(own["key"], made, task(data), loop.scan_fit)

  yield from _sweep(
    devices, member, _dataset(images), {"key": _key()}, batch, width, images
  )


def defending_sweep(
  devices: list[jax.Device],
  *,
  defense: str,
  options: dict[str, Any],
  model: str,
  args: dict[str, Any],
  width: int,
  images: Images = CIFAR10,
  rate: float = 0.05,
) -> Iterator[Program]:
  """Yields a sweep that defends; arguments as in `defend` and above."""
  made = registry.get("defenses", defense)(**options)
  access = _access(_model(model, images, args), images, rate)
  own = {"key": _key(), "more": access.replace(train=None)}

  def member(nothing, own):
    del nothing
    return experiment.defend(own["key"], made, own["more"], loop.scan_fit)

  batch = options["batch_size"]
  yield from _sweep(devices, member, (), own, batch, width, images)


BUILDERS: dict[str, Callable[..., Iterator[Program]]] = {
  f.__name__: f
  for f in (train, plant, defend, pretrain, score)
  + (planting_sweep, defending_sweep)
}


def _stages(
  method: Callable[..., Any], mesh: Mesh, *args: Any
) -> list[Program]:
  """Returns the epoch programs of a method, each kind once per stage."""
  found = []

  def seen(key, step, state, data, batch_size, name):
    kinds = {}
    for turn in loop.turns(step, data):
      kinds[turn[0], jax.tree.structure(turn[1])] = turn
    for place, turn in enumerate(kinds.values()):
      label = f"{name}, turn {place + 1}" if len(kinds) > 1 else name
      found.append(
        _Epoch(label, key, turn[0], state, turn[1], batch_size, mesh)
      )

  work.stages(method, *args, seen=seen)
  return [epoch.program() for epoch in found]


class _Epoch:
  """An epoch as `host_fit` compiles it, kept beyond the trace it is met in.

  What the step closes over may belong to that trace: it becomes an argument.
  """

  def __init__(
    self,
    name: str,
    key: jax.Array,
    step: Step,
    state: Params,
    data: Dataset,
    batch_size: int,
    mesh: Mesh,
  ):
    shared = mesh if meshes.shares(mesh) > 1 else None
    run = loop.epoch(step, batch_size=batch_size, mesh=shared)
    self._args = jax.tree.map(_shape, (key, state, data))
    closed, out = jax.make_jaxpr(run, return_shape=True)(*self._args)
    self._tree = jax.tree.structure(out)
    self._jaxpr, self._held = closed.jaxpr, jax.tree.map(_shape, closed.consts)
    self._name, self._mesh, self._size = name, mesh, data.size
    self._batch = batch_size // meshes.shares(mesh)

  def program(self) -> Program:
    whole = meshes.everywhere(self._mesh)

    def run(held, key, state, data):
      call = jex.jaxpr_as_fun(jex.ClosedJaxpr(self._jaxpr, held))
      flat = call(*jax.tree.leaves((key, state, data)))
      return jax.tree.unflatten(self._tree, flat)

    jitted = jax.jit(run, donate_argnums=2, out_shardings=whole)
    lowered = jitted.lower(*_laid((self._held, *self._args), whole))
    flop = work.flop(work.needed(self._jaxpr)) / meshes.shares(self._mesh)
    batches = {self._batch} | _PARTS
    return Program(self._name, lowered, flop, batches, self._size)


def _sweep(
  devices: list[jax.Device],
  member: sweep.Member,
  shared: Params,
  own: Params,
  batch: int,
  width: int,
  images: Images,
) -> Iterator[Program]:
  mesh = targets.mesh(devices)
  spread, whole = meshes.by_member(mesh), meshes.everywhere(mesh)
  members = meshes.members(mesh) * width
  stacked = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct((members, *x.shape), x.dtype), own
  )
  shared, stacked = _laid(shared, whole), _laid(stacked, spread)
  lowered = sweep.lower(member, mesh, shared, stacked)
  one = jax.make_jaxpr(member)(shared, own).jaxpr
  flop = width * work.flop(work.needed(one))
  batches = {batch, *_PARTS}
  yield Program(
    "sweep", lowered, flop, batches, images.count, grouped=width > 1
  )
  if len({device.process_index for device in devices}) > 1:
    # What `sweep.unstack` asks of a pod: every process gets all results.
    made = _laid(lowered.out_info, spread)
    gather = jax.jit(lambda x: x, out_shardings=whole).lower(made)
    yield Program("results to all", gather, 0.0, batches, images.count)


def _model(name: str, images: Images, args: dict[str, Any]) -> nn.Module:
  return registry.get("models", name)(images.classes, **args)


def _task(
  model: nn.Module, batch: int, regime: str
) -> Callable[[Dataset], Task]:
  return lambda data: Task(
    data,
    model,
    recipe=Recipe(epochs=2, batch_size=batch),
    regime=regimes.REGIMES[regime](),
    view=augment.standard(),
  )


def _access(model: nn.Module, images: Images, rate: float) -> Access:
  whole = _dataset(images)
  clean = _dataset(images._replace(count=round(rate * images.count)))
  variables = jax.eval_shape(
    lambda key, data: learn.init_variables(key, data, model=model),
    _key(),
    whole,
  )
  return Access(
    variables, clean, whole, model, augment.standard(), Recipe(epochs=2)
  )


def _dataset(images: Images) -> Dataset:
  shape = (images.count, images.side, images.side, 3)
  return Dataset(
    jax.ShapeDtypeStruct(shape, jnp.uint8),
    jax.ShapeDtypeStruct(shape[:1], jnp.int32),
  )


def _key() -> jax.ShapeDtypeStruct:
  return jax.eval_shape(lambda: jax.random.key(0))


def _shape(x: Any) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(jnp.shape(x), x.dtype)


def _laid(tree: Params, sharding: NamedSharding) -> Params:
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
  )
