import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.types import Access, Dataset, Recipe

# Class 0 has six images near 20 and two near 200; one more was dropped before.
# Class 1 is split evenly, class 2 is all one point, class 3 has no image.
LEVEL = [20, 22, 24, 26, 28, 30, 200, 202, 201, 10, 14, 210, 214, 90, 90, 90]
LABEL = [0] * 9 + [1] * 4 + [2] * 3
DROPPED_BEFORE = 8


@pytest.fixture
def access(bright):
  pixels = jnp.asarray(LEVEL, jnp.uint8)[:, None, None, None]
  image = jnp.concatenate([pixels, jnp.full_like(pixels, 7)], axis=2)
  keep = jnp.arange(len(LEVEL)) != DROPPED_BEFORE
  train = Dataset(image, jnp.asarray(LABEL, jnp.int32), keep)
  recipe = Recipe(epochs=3, batch_size=8)
  return Access({"params": {}}, train=train, model=bright, recipe=recipe)


def gone(found):
  return np.flatnonzero(~np.asarray(found.keep)).tolist()


def test_drops_small_clusters_of_kept_examples(filtered, access):
  found, _ = filtered(access)
  assert gone(found) == [6, 7, DROPPED_BEFORE]
  np.testing.assert_allclose(found.memo["share"], [0.25, 0.5, 0, 0])
  even = np.mean([1 - 4 / 202, 1 - 4 / 198, 1 - 4 / 198, 1 - 4 / 202])
  np.testing.assert_allclose(found.memo["silhouette"][1], even, rtol=1e-4)
  np.testing.assert_allclose(found.memo["silhouette"][2:], 0)


def test_thresholds_of_share_and_silhouette(filtered, access):
  assert gone(filtered(access, threshold=0.25)[0]) == [DROPPED_BEFORE]
  assert gone(filtered(access, threshold=0.26)[0]) == [6, 7, DROPPED_BEFORE]
  assert gone(filtered(access, silhouette=0.99)[0]) == [DROPPED_BEFORE]
  assert gone(filtered(access, silhouette=0.9)[0]) == [6, 7, DROPPED_BEFORE]


def test_backdoorbench_drops_the_smaller_cluster_of_every_class(
  filtered, access
):
  found = gone(filtered(access, compat="backdoorbench", threshold=0.0)[0])
  assert set(found) - {9, 10, 11, 12} == {6, 7, DROPPED_BEFORE}
  assert set(found) & {9, 10, 11, 12} in ({9, 10}, {11, 12})


def test_retrains_from_scratch_on_what_it_keeps(filtered, access):
  found, asked = filtered(access)
  assert asked["data"].keep.tolist() == found.keep.tolist()
  assert asked["start"].keys() == {"params"} and "w" in asked["start"]["params"]
  how = {"epochs": 3, "batch_size": 8, "name": "retrain", "params": None}
  assert asked["how"] == how
  assert filtered(access, epochs=7)[1]["how"]["epochs"] == 7
