import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.defenses.parts import clusters
from bdjax.types import Dataset

TWO = np.float32([[0.0], [2.0], [10.0], [13.0]])
SILHOUETTE = np.mean([9.5 / 11.5, 7.5 / 9.5, 6 / 9, 9 / 12])
two_means = jax.jit(clusters.two_means)
silhouette = jax.jit(clusters.silhouette, static_argnames="at_most")


def bools(*values):
  return np.array(values, bool)


def components(points, members, count):
  """Returns what `clusters.components` does now, as one program."""
  return jax.jit(lambda *args: clusters.components(*args, count=count))(
    points, members
  )


def cloud(count=40, size=6, seed=0):
  """Returns points whose axes have variances far apart, and some members."""
  rng = np.random.default_rng(seed)
  points = rng.normal(size=(count, size)) * 2.0 ** -np.arange(size) + 3
  return points.astype(np.float32), np.arange(count) % 3 != 1


def test_classes_are_of_kept_examples():
  data = Dataset(jnp.zeros((4, 1, 1, 1), jnp.uint8), jnp.array([0, 2, 0, 1]))
  found = clusters.by_class(data, num_classes=3)
  assert found.astype(int).tolist() == [
    [1, 0, 1, 0],
    [0, 0, 0, 1],
    [0, 1, 0, 0],
  ]
  kept = data.replace(keep=bools(1, 1, 0, 1))
  found = clusters.by_class(kept, num_classes=3)
  assert found.astype(int).tolist() == [
    [1, 0, 0, 0],
    [0, 0, 0, 1],
    [0, 1, 0, 0],
  ]


def test_centering_ignores_the_others():
  points = jnp.array([[1.0, 2.0], [3.0, 6.0], [100.0, -100.0]])
  found = clusters.centered(points, bools(1, 1, 0))
  np.testing.assert_allclose(found, [[-1, -2], [1, 2], [0, 0]])


def test_components_are_the_members_directions_in_order():
  points = np.array([[7.0, 9.0], [1.0, 1.0], [3.2, 5.6], [4.8, 4.4], [0, 99]])
  found = components(points, bools(1, 1, 1, 1, 0), count=2)
  signed = found * np.sign(found[:1])
  np.testing.assert_allclose(signed, [[0.6, 0.8], [0.8, -0.6]], atol=1e-6)


def test_iteration_finds_the_same_components(monkeypatch):
  points, members = cloud(size=30)
  exact = components(points, members, count=3)
  monkeypatch.setattr(clusters, "EXACT", 29)
  found = components(points, members, count=3)
  assert found.shape == (30, 3)
  overlap = np.abs(np.asarray(found).T @ np.asarray(exact))
  np.testing.assert_allclose(overlap, np.eye(3), atol=1e-3)


def test_two_means_is_the_best_split_of_all():
  rng = np.random.default_rng(1)
  points, members = rng.normal(size=(11, 2)), np.arange(11) < 9

  def spread(side):
    sides = [points[:9][side], points[:9][~side]]
    return sum(np.square(s - s.mean(0)).sum() for s in sides if len(s))

  splits = np.array(list(itertools.product([False, True], repeat=9)))
  best = min(splits, key=spread)
  best = best if best.sum() < 5 else ~best
  found = two_means(jax.random.key(0), points.astype(np.float32), members)
  assert found.tolist() == best.tolist() + [False, False]


def test_two_means_of_one_point_or_none_is_empty():
  members = bools(1, 1, 1, 0)
  same = np.float32([[5.0], [5.0], [5.0], [9.0]])
  assert not np.any(two_means(jax.random.key(0), same, members))
  assert not np.any(two_means(jax.random.key(0), same, bools(0, 0, 0, 0)))


def test_silhouette_by_hand():
  none, every = bools(0, 0, 0, 0), bools(1, 1, 1, 1)
  second = bools(0, 0, 1, 1)
  found = silhouette(TWO, every, second)
  np.testing.assert_allclose(found, SILHOUETTE, rtol=1e-6)
  alone = silhouette(TWO, bools(1, 1, 1, 0), bools(0, 0, 1, 0))
  np.testing.assert_allclose(alone, (8 / 10 + 6 / 8 + 0) / 3, rtol=1e-6)
  assert silhouette(TWO, every, none) == silhouette(TWO, none, second) == 0


def test_silhouette_thins_members_evenly():
  far = np.full((3, 1), 50.0, np.float32)
  points = np.concatenate([np.repeat(TWO, 2, axis=0), far])
  members = np.arange(11) < 8
  found = silhouette(points, members, points[:, 0] > 5, at_most=4)
  np.testing.assert_allclose(found, SILHOUETTE, rtol=1e-6)


def test_classes_may_be_mapped_over():
  points, members = cloud()
  both = np.stack([members, ~members])

  def look(members):
    basis = clusters.components(points, members, count=2)
    low = clusters.centered(points, members) @ basis
    smaller = clusters.two_means(jax.random.key(0), low, members, restarts=3)
    return smaller, clusters.silhouette(low, members, smaller)

  smaller, cohesion = jax.jit(jax.vmap(look))(both)
  alone = jax.jit(look)
  for i in range(2):
    one, score = alone(both[i])
    assert np.any(one) and smaller[i].tolist() == one.tolist()
    np.testing.assert_allclose(cohesion[i], score, rtol=1e-4)


def test_agrees_with_scikit_learn():
  cluster = pytest.importorskip("sklearn.cluster")
  metrics = pytest.importorskip("sklearn.metrics")
  decomposition = pytest.importorskip("sklearn.decomposition")
  points, members = cloud(count=120, seed=3)
  mine = np.asarray(points)[np.asarray(members)]
  theirs = decomposition.PCA(3).fit(mine)
  basis = components(points, members, count=3)
  overlap = np.abs(np.asarray(basis).T @ theirs.components_.T)
  np.testing.assert_allclose(overlap, np.eye(3), atol=1e-3)
  low = jax.jit(clusters.centered)(points, members) @ basis
  smaller = two_means(jax.random.key(0), low, members)
  low_mine = np.asarray(low)[np.asarray(members)]
  kmeans = cluster.KMeans(2, n_init=20, random_state=0).fit(low_mine)
  side = kmeans.labels_ == 1
  found = np.asarray(smaller)[np.asarray(members)]
  assert found.tolist() in (side.tolist(), (~side).tolist())
  assert found.sum() == min(side.sum(), (~side).sum())
  np.testing.assert_allclose(
    silhouette(low, members, smaller),
    metrics.silhouette_score(low_mine, side),
    rtol=1e-4,
  )
