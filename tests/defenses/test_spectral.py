import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.methods import registry
from bdjax.types import Access, Dataset, Recipe

spectral = registry.module("defenses", "spectral")
LINE = jnp.array([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0], [99.0, -99.0]])
ON_LINE = jnp.array([True, True, True, False])


@pytest.fixture
def access_to(bright):
  def access(levels, labels, keep=None):
    image = jnp.asarray(levels, jnp.uint8)[:, None, None, None]
    train = Dataset(image, jnp.asarray(labels, jnp.int32), keep)
    recipe = Recipe(epochs=3, batch_size=4)
    return Access({"params": {}}, train=train, model=bright, recipe=recipe)

  return access


def gone(found):
  return np.flatnonzero(~np.asarray(found.keep)).tolist()


def test_score_is_the_squared_projection():
  found = spectral.scores(LINE, ON_LINE)[:3]
  np.testing.assert_allclose(found, [25, 0, 25], atol=1e-4)
  raw = spectral.scores(LINE, ON_LINE, compat="backdoorbench")[:3]
  np.testing.assert_allclose(raw, [0, 25, 100], atol=1e-4)


def test_allowance_is_of_the_whole_set_and_half_a_class_at_most():
  sizes = jnp.array([40, 61, 0])
  few = spectral.allowance(sizes, rate=0.1)  # 1.5 * .1 * 101 = 15.15
  assert few.tolist() == [15, 15, 0]
  assert spectral.allowance(sizes, rate=0.3).tolist() == [20, 30, 0]
  fixed = spectral.allowance(sizes, rate=0.3, compat="backdoorbench")
  assert fixed.tolist() == [6, 9, 0]


def test_highest_are_members():
  score = jnp.array([5.0, 9.0, 1.0, 7.0])
  members = jnp.array([True, False, True, True])
  found = [spectral.highest(score, members, n).tolist() for n in (0, 1, 2)]
  assert found[0] == [False] * 4
  assert found[1] == [False, False, False, True]
  assert found[2] == [True, False, False, True]


def test_features_are_pooled_or_the_last_map():
  shown = {
    "layer1": jnp.zeros((2, 4, 4, 3)),
    "layer2": jnp.arange(16.0).reshape(2, 2, 2, 2),
    "pooled": jnp.ones((2, 5)),
  }
  assert (spectral.features(shown, compat="paper") == 1).all()
  found = spectral.features(shown, compat="backdoorbench")
  assert found.tolist() == [list(range(8)), list(range(8, 16))]


def test_the_last_map_is_the_deepest():
  shown = {f"layer{i}": jnp.full((1, 1, 1, 1), float(i)) for i in (1, 2, 10, 9)}
  found = spectral.features(shown, compat="backdoorbench")
  assert found.tolist() == [[10.0]]


def test_drops_each_class_of_its_outliers(filtered, access_to):
  # 1.5 * .1 * 13 kept examples: two of each class.
  levels = [50, 52, 54, 250, 51, 240, 53, 0, 90, 92, 10, 91, 93, 20]
  labels = [0] * 8 + [1] * 6
  keep = jnp.arange(14) != 7  # the farthest of class 0, dropped before
  found, asked = filtered(access_to(levels, labels, keep))
  assert gone(found) == [3, 5, 7, 10, 13]
  assert found.memo["dropped"].tolist() == [2, 2, 0, 0]
  assert asked["data"].keep.tolist() == found.keep.tolist()
  assert "w" in asked["start"]["params"]
  how = {"epochs": 3, "batch_size": 4, "name": "retrain", "params": None}
  assert asked["how"] == how


def test_more_poisons_assumed_more_dropped(filtered, access_to):
  access = access_to([50, 51, 52, 90, 200, 201, 202, 240], [0] * 4 + [1] * 4)
  assert gone(filtered(access, rate=0.08)[0]) == [3, 7]
  assert len(gone(filtered(access, rate=0.9)[0])) == 4
  assert filtered(access, epochs=9)[1]["how"]["epochs"] == 9


def test_backdoorbench_drops_the_farthest_from_zero(filtered, access_to):
  # Seven images: 15 % is one. Centered, the dark one lies farthest.
  access = access_to([10, 200, 201, 202, 203, 204, 220], [0] * 7)
  assert gone(filtered(access, rate=0.1)[0]) == [0]
  assert gone(filtered(access, compat="backdoorbench")[0]) == [6]
