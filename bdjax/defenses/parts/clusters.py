"""What clouds of features look like: principal components, two-means, shape.

Every function takes all N points and says by a mask which of them are members,
so that shapes stay static and classes can be looped over or vmapped. Distances
are Euclidean. Non-members count for nothing. All is computed in float32, since
the faster products of some platforms would change which points are near.
"""

import jax
import jax.numpy as jnp

from bdjax.machine.backend import exact
from bdjax.types import Array, Dataset, Key

EXACT = 2048  # dimensions up to which the covariance is decomposed whole
SPARE = 10  # directions iterated beyond those wanted, when it is not
TURNS = 30  # of that iteration


def by_class(data: Dataset, *, num_classes: int) -> Array:
  """Returns which kept examples carry each label, [num_classes, N] bool."""
  matches = data.label[None, :] == jnp.arange(num_classes)[:, None]
  return matches if data.keep is None else matches & data.keep[None, :]


def centered(points: Array, members: Array) -> Array:
  """Returns the points minus the members' mean, non-members zero, [N, D].

  Args:
    points: [N, D].
    members: [N] bool.
  """
  return jnp.where(members[:, None], points - _mean(points, members), 0.0)


@exact
def components(points: Array, members: Array, *, count: int) -> Array:
  """Returns the members' principal directions, the largest variance first.

  Above `EXACT` dimensions they are found by orthogonal iteration.

  Args:
    points: [N, D].
    members: [N] bool.
    count: how many; D, if there are no more.

  Returns:
    [D, count], columns of length 1 and any sign.
  """
  x = centered(points, members)
  size = x.shape[1]
  basis = jnp.eye(size) if size <= EXACT else _leading(x, count + SPARE)
  within = x @ basis if size > EXACT else x
  covariance = within.T @ within
  axes = jnp.linalg.eigh(covariance)[1][:, ::-1][:, :count]
  return basis @ axes if size > EXACT else axes


@exact
def two_means(
  key: Key,
  points: Array,
  members: Array,
  *,
  restarts: int = 10,
  rounds: int = 100,
) -> Array:
  """Splits the members in two by k-means and returns the smaller cluster.

  Args:
    key: decides the starts, drawn as k-means++ does.
    points: [N, D].
    members: [N] bool.
    restarts: starts, of which the one of least squared distances wins.
    rounds: of reassignment, at most.

  Returns:
    [N] bool; empty if all members are the same point.
  """
  points = centered(points, members)

  def run(key):
    second = _settled(points, members, _starts(key, points, members), rounds)
    return second, _spread(points, members, second)

  second, spread = jax.vmap(run)(jax.random.split(key, restarts))
  second = second[jnp.argmin(spread)]
  more = 2 * second.sum() > members.sum()
  return jnp.where(more, members & ~second, second)


@exact
def silhouette(
  points: Array, members: Array, second: Array, *, at_most: int = 2000
) -> Array:
  """Returns the mean silhouette of a split in two, in [-1, 1].

  Rousseeuw's (b - a) / max(a, b): a is a member's mean distance to the rest of
  its cluster, b that to the other cluster. A cluster of one counts 0, and so
  does a split with an empty side.

  Args:
    points: [N, D].
    members: [N] bool.
    second: [N] bool, the members on one side.
    at_most: members compared; more are thinned out evenly in their order.
  """
  rows, valid = _thinned(members, min(at_most, points.shape[0]))
  points, second = points[rows], second[rows] & valid
  first = valid & ~second
  distance = jnp.linalg.norm(points[:, None, :] - points[None, :, :], axis=-1)
  sides = jnp.stack([first, second], axis=1).astype(points.dtype)
  total = distance @ sides
  size = jnp.where(
    second[:, None], sides.sum(0)[None, ::-1], sides.sum(0)[None]
  )
  total = jnp.where(second[:, None], total[:, ::-1], total)
  cohesion = total[:, 0] / jnp.maximum(size[:, 0] - 1, 1)
  separation = total[:, 1] / jnp.maximum(size[:, 1], 1)
  widest = jnp.maximum(
    jnp.maximum(cohesion, separation), jnp.finfo(points.dtype).tiny
  )
  counts = valid & (size[:, 0] > 1) & (size[:, 1] > 0)
  each = jnp.where(counts, (separation - cohesion) / widest, 0.0)
  return each.sum() / jnp.maximum(valid.sum(), 1)


def _mean(points: Array, members: Array) -> Array:
  total = jnp.sum(jnp.where(members[:, None], points, 0.0), 0, keepdims=True)
  return total / jnp.maximum(members.sum(), 1)


def _leading(x: Array, count: int) -> Array:
  start = jax.random.normal(jax.random.key(0), (x.shape[1], count))

  def turn(_, basis):
    return jnp.linalg.qr(x.T @ (x @ basis))[0]

  return jax.lax.fori_loop(0, TURNS, turn, jnp.linalg.qr(start)[0])


def _starts(key: Key, points: Array, members: Array) -> Array:
  k_first, k_second = jax.random.split(key)
  first = points[jax.random.categorical(k_first, jnp.log(members))]
  far = jnp.sum(jnp.square(points - first[None]), axis=1)
  chance = jnp.log(jnp.where(members, far, 0.0))
  return jnp.stack([first, points[jax.random.categorical(k_second, chance)]])


def _settled(
  points: Array, members: Array, centers: Array, rounds: int
) -> Array:
  def nearer_second(centers):
    first, second = centers
    ahead = points - (first + second)[None] / 2
    return members & (ahead @ (second - first) > 0)

  def again(state):
    i, _, moved = state
    return moved & (i < rounds)

  def assign(state):
    i, second, _ = state
    now = nearer_second(_centers(points, members, second))
    return i + 1, now, (now != second).any()

  start = (0, nearer_second(centers), jnp.asarray(True))
  return jax.lax.while_loop(again, assign, start)[1]


def _centers(points: Array, members: Array, second: Array) -> Array:
  sides = [members & ~second, second]
  return jnp.concatenate([_mean(points, side) for side in sides])


def _spread(points: Array, members: Array, second: Array) -> Array:
  sides = [members & ~second, second]
  return sum(jnp.sum(jnp.square(centered(points, side))) for side in sides)


def _thinned(members: Array, count: int) -> tuple[Array, Array]:
  total = members.sum()
  order = jnp.argsort(~members)  # stable: members first
  step = jnp.maximum(total / count, 1.0)
  places = (jnp.arange(count) * step).astype(jnp.int32)
  places = jnp.minimum(places, members.shape[0] - 1)
  return order[places], jnp.arange(count) < total
