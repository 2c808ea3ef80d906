"""What an epoch is: a shuffled order, batches gathered from bytes, and steps.

Pure functions, of which `loop` makes its programs. In training each image is a
flat row of bytes (`Rows`): to gather batches from [N, H, W, C], a TPU would
first copy all images into a padded layout, in every program.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import flax.struct
import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from bdjax.machine import mesh as meshes
from bdjax.types import Array, Batch, Dataset, Key, Metrics, State, Step


@flax.struct.dataclass
class Rows:
  """A dataset whose images are rows.

  Attributes:
    image: [N, H * W * C] uint8.
    label: [N] int32.
    keep: [N] bool or None for all.
    shape: H, W and C.
  """

  image: Array
  label: Array
  keep: Array | None = None
  shape: tuple[int, ...] = flax.struct.field(pytree_node=False, default=())

  @property
  def size(self) -> int:
    """Number of stored examples, kept or not."""
    return self.image.shape[0]


class Deck(NamedTuple):
  """Datasets of one size and shape; batches come from one of them."""

  datas: tuple[Rows, ...]
  which: Array  # int32

  @property
  def size(self) -> int:
    """Number of stored examples of each."""
    return self.datas[0].size


Data = Dataset | Rows | Deck
EpochFn = Callable[[Key, State, Data], tuple[State, Metrics]]


def rows(data: Dataset | Rows) -> Rows:
  """Returns a dataset with its images as rows."""
  if isinstance(data, Rows):
    return data
  shape = data.image.shape[1:]
  image = data.image.reshape(data.size, math.prod(shape))
  return Rows(image, data.label, data.keep, shape)


class TooFew(ValueError):
  """There are fewer examples than a batch has.

  Attributes:
    batch_size: what was asked for.
    size: how many there are.
  """

  def __init__(self, batch_size: int, size: int):
    """Says so, and the remedy."""
    super().__init__(
      f"batch_size is {batch_size}, but the data has {size} examples: give a "
      "smaller batch or more data."
    )
    self.batch_size, self.size = batch_size, size


def steps_per_epoch(size: int, batch_size: int) -> int:
  """Returns how many batches show each of `size` examples at least once.

  Raises:
    TooFew: the batch is larger than the data.
  """
  if batch_size > size:
    raise TooFew(batch_size, size)
  return math.ceil(size / batch_size)


def order(key: Key, data: Data, count: int) -> Array:
  """Returns `count` positions: kept examples shuffled, repeated as needed."""
  rank = jax.random.uniform(key, (data.size,))
  keep = _kept(data)
  if keep is None:
    return jnp.argsort(rank)[jnp.arange(count) % data.size]
  shuffled = jnp.argsort(jnp.where(keep, rank, jnp.inf))
  return shuffled[jnp.arange(count) % jnp.maximum(keep.sum(), 1)]


def _kept(data: Data) -> Array | None:
  if not isinstance(data, Deck):
    return data.keep
  keeps = [one.keep for one in data.datas]
  return None if keeps[0] is None else jax.lax.select_n(data.which, *keeps)


def take(data: Data, index: Array) -> Batch:
  """Gathers a batch and turns its bytes into floats in [0, 1].

  Args:
    index: positions in it, of any shape.
  """
  chex.assert_type(index, int)
  if isinstance(data, Deck):
    drawn = [_bytes(one, index) for one in data.datas]
    image, label = (
      jax.lax.select_n(data.which, *parts) for parts in zip(*drawn, strict=True)
    )
  else:
    image, label = _bytes(data, index)
  return Batch(image.astype(jnp.float32) / 255, label, index)


def _bytes(data: Dataset | Rows, index: Array) -> tuple[Array, Array]:
  # Bytes as a rule, but a network that judges answers trains on floats.
  chex.assert_type(data.label, jnp.int32)
  chex.assert_rank(data.image, 2 if isinstance(data, Rows) else 4)
  chex.assert_shape(data.label, (data.size,))
  image = data.image[index]
  if isinstance(data, Rows):
    image = image.reshape(*index.shape, *data.shape)
  return image, data.label[index]


def epoch(step: Step, *, batch_size: int, mesh: Mesh | None = None) -> EpochFn:
  """Returns the function that runs `step` on the batches of an epoch.

  There are as many as it takes to show all stored examples, kept or not. They
  hold kept ones alone, in a shuffled order that begins again when it is
  through: where few are kept, each is shown several times.

  Args:
    mesh: its devices share each batch: every one gathers its own examples, and
      batch norm sees all of them. None leaves batches whole.

  Returns:
    (key, state, data) -> (state, metrics stacked over the steps, [steps]).
  """

  def run(key, state, data):
    steps = steps_per_epoch(data.size, batch_size)
    k_order, k_steps = jax.random.split(key)
    index = order(k_order, data, steps * batch_size)

    def body(state, item):
      i, index = item
      return step(jax.random.fold_in(k_steps, i), state, take(data, index))

    batches = index.reshape(steps, batch_size)
    if mesh is not None:
      batches = jax.lax.with_sharding_constraint(batches, meshes.by_batch(mesh))
    return jax.lax.scan(body, state, (jnp.arange(steps), batches))

  return run


class Turns(NamedTuple):
  """What epochs take turns with: epoch e runs the turn e % n.

  Attributes:
    steps: the distinct ones.
    datas: the distinct ones.
    step: place of each turn's step among them.
    data: place of each turn's data.
  """

  steps: tuple[Step, ...]
  datas: tuple[Dataset, ...]
  step: tuple[int, ...]
  data: tuple[int, ...]

  def at(self, turn: int) -> tuple[Step, Dataset]:
    """Returns a turn's step and data."""
    return self.steps[self.step[turn]], self.datas[self.data[turn]]


def turns(
  step: Step | tuple[Step, ...], data: Dataset | tuple[Dataset, ...]
) -> Turns:
  """Returns the turns of a fit; see `bdjax.types.Fit`."""
  steps = step if isinstance(step, tuple) else (step,)
  datas = data if type(data) is tuple else (data,)
  n = math.lcm(len(steps), len(datas))
  steps, step_at = _different(steps)
  datas, data_at = _different(datas)
  return Turns(
    steps,
    datas,
    tuple(step_at[e % len(step_at)] for e in range(n)),
    tuple(data_at[e % len(data_at)] for e in range(n)),
  )


def _different(things: tuple) -> tuple[tuple, list[int]]:
  distinct: list[Any] = []
  place = []
  for thing in things:
    index = next(
      (i for i, x in enumerate(distinct) if x is thing), len(distinct)
    )
    distinct += [thing] if index == len(distinct) else []
    place.append(index)
  return tuple(distinct), place


def turn(
  plan: Turns, *, batch_size: int, mesh: Mesh | None = None
) -> Callable[[Key, State, tuple[Rows, ...], Array], tuple[State, Metrics]]:
  """Returns the function that runs any epoch of a fit.

  Its data is chosen by selecting between batches, so that a program holds each
  step once and copies no dataset.

  Args:
    mesh: whose devices share each batch; None for one.

  Returns:
    (key of the fit, state, datas, number of the epoch) -> (state, metrics
    stacked over the steps).
  """
  runs = [epoch(s, batch_size=batch_size, mesh=mesh) for s in plan.steps]

  def run(key, state, datas, e):
    now, place = jax.random.fold_in(key, e), e % len(plan.step)
    data = datas[0]
    if len(datas) > 1:
      data = Deck(datas, jnp.array(plan.data, jnp.int32)[place])
    if len(runs) == 1:
      return runs[0](now, state, data)
    chosen = jnp.array(plan.step, jnp.int32)[place]
    return jax.lax.switch(chosen, runs, now, state, data)

  return run


def alike(datas: tuple[Dataset, ...]) -> tuple[Rows, ...]:
  """Returns datasets as rows; all get a `keep` if any of them has one."""
  images = {id(data.image): rows(data).image for data in datas}  # each once
  flat = [
    Rows(images[id(d.image)], d.label, d.keep, d.image.shape[1:]) for d in datas
  ]
  if all(data.keep is None for data in flat):
    return tuple(flat)
  return tuple(
    data.replace(keep=jnp.ones(data.size, bool)) if data.keep is None else data
    for data in flat
  )


def span(
  plan: Turns, *, batch_size: int, most: int, mesh: Mesh | None = None
) -> Callable[..., tuple[State, Metrics]]:
  """Returns the function that runs several epochs in a row.

  Args:
    most: epochs that it can run at once.
    mesh: whose devices share each batch; None for one.

  Returns:
    (key of the fit, state, datas, first epoch, their number) -> (state,
    metrics [most, steps], zero beyond that number).
  """
  one_turn = turn(plan, batch_size=batch_size, mesh=mesh)

  def run(key, state, datas, first, count):
    one = jax.jit(one_turn, inline=True)  # is traced once for both calls
    _, shapes = jax.eval_shape(one, key, state, datas, first)
    empty = jax.tree.map(lambda x: jnp.zeros((most, *x.shape), x.dtype), shapes)

    def body(i, carry):
      state, history = carry
      state, metrics = one(key, state, datas, first + i)
      return state, jax.tree.map(lambda a, m: a.at[i].set(m), history, metrics)

    return jax.lax.fori_loop(0, count, body, (state, empty))

  return run
