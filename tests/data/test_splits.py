"""Subsets: sizes by hand, balance, disjointness, determinism, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.data import splits
from bdjax.types import Dataset


@pytest.fixture
def data() -> Dataset:
  """Returns 40 examples, 30 of class 0 and 10 of class 1, told by value."""
  image = jnp.arange(40, dtype=jnp.uint8).reshape(40, 1, 1, 1)
  label = jnp.asarray([0] * 30 + [1] * 10, jnp.int32)
  return Dataset(image, label)


def ids(data: Dataset) -> set[int]:
  """Returns the values of the images."""
  return {int(value) for value in np.ravel(data.image)}


def test_a_permutation_is_the_same_on_every_machine():
  order = splits.shuffled(8)
  assert sorted(order) == list(range(8))
  assert order.tolist() == [3, 2, 1, 6, 0, 7, 4, 5]


def test_a_sample_is_of_all_classes_and_the_same_again(data):
  few = splits.sample(data, 8)
  assert few.size == 8 == len(ids(few))
  order = splits.shuffled(40)[:8]
  np.testing.assert_array_equal(np.ravel(few.image), order)
  assert set(np.asarray(few.label).tolist()) == {0, 1}
  assert ids(splits.sample(data, 99)) == set(range(40))
  assert splits.sample(data, 0).size == 0


def test_size_is_the_rounded_share_without_replacement(data):
  subset = splits.clean_subset(jax.random.key(0), data, rate=0.2)
  assert subset.size == 8 == len(ids(subset))
  np.testing.assert_array_equal(
    np.asarray(subset.label), [int(i >= 30) for i in np.ravel(subset.image)]
  )


def test_the_key_decides(data):
  def draw(seed):
    return ids(splits.clean_subset(jax.random.key(seed), data, rate=0.2))

  assert draw(1) == draw(1) != draw(2)


def test_balanced_draws_equally_from_unequal_classes(data):
  subset = splits.clean_subset(jax.random.key(0), data, rate=0.2, balanced=True)
  assert np.bincount(np.asarray(subset.label)).tolist() == [4, 4]
  assert len(ids(subset)) == 8


def test_the_whole_set_is_a_subset(data):
  subset = splits.clean_subset(jax.random.key(0), data, rate=1)
  assert ids(subset) == set(range(40))


def test_keep_travels_with_its_examples(data):
  data = data.replace(keep=jnp.arange(40) % 2 == 0)
  subset = splits.clean_subset(jax.random.key(0), data, rate=0.5)
  np.testing.assert_array_equal(
    np.asarray(subset.keep), np.ravel(subset.image) % 2 == 0
  )


def test_hold_out_splits_in_two(data):
  rest, held = splits.hold_out(jax.random.key(0), data, rate=0.1)
  assert (rest.size, held.size) == (36, 4)
  assert ids(rest) | ids(held) == set(range(40))


def test_hold_out_may_be_traced(data):
  def split(key):
    return splits.hold_out(key, data, rate=0.1)

  traced, plain = jax.jit(split)(jax.random.key(0)), split(jax.random.key(0))
  assert [ids(part) for part in traced] == [ids(part) for part in plain]


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.5, float("nan")])
def test_a_rate_out_of_range_is_refused(data, rate):
  with pytest.raises(ValueError, match="give one in"):
    splits.clean_subset(jax.random.key(0), data, rate=rate)


def test_an_empty_subset_is_refused(data):
  with pytest.raises(ValueError, match="empty subset; give at least 0.025"):
    splits.clean_subset(jax.random.key(0), data, rate=0.01)


def test_a_class_too_small_is_refused(data):
  with pytest.raises(ValueError, match="12 examples of class 1, which has 10"):
    splits.clean_subset(jax.random.key(0), data, rate=0.6, balanced=True)


def test_holding_out_everything_is_refused(data):
  with pytest.raises(ValueError, match="leaves none to train on"):
    splits.hold_out(jax.random.key(0), data, rate=1)
