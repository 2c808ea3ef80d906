import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.attacks import badnets
from bdjax.types import POISON

GRAY = jnp.full((2, 8, 8, 3), 0.5)


def stamped(planted, **args):
  attack, backdoor = planted(**args)
  return np.array(attack.trigger(jax.random.key(1), GRAY, backdoor.params))


def test_white_square_lies_flush_bottom_right(planted):
  hit = stamped(planted, size=3)
  assert (hit[:, 5:, 5:] == 1).all()
  hit[:, 5:, 5:] = 0.5
  assert (hit == 0.5).all()


def test_grid_alternates_255_and_1(planted):
  square = stamped(planted, size=3, pattern="grid")[0, 5:, 5:, 0] * 255
  np.testing.assert_allclose(
    square, [[255, 1, 255], [1, 255, 1], [255, 1, 255]], rtol=1e-6
  )


def test_fmn_square_is_colourful_top_left_and_the_same_for_all_seeds(planted):
  assert badnets.PRESETS["fmn"]["size"] * 32 == 4
  args = badnets.PRESETS["fmn"] | {"size": 4}
  hit = stamped(planted, **args)
  assert (hit[:, 4:] == 0.5).all() and (hit[:, :, 4:] == 0.5).all()
  assert len(np.unique(hit[0, :4, :4])) == 48
  np.testing.assert_array_equal(hit, stamped(planted, **args, target=1))
  assert (hit != stamped(planted, **args, pattern_seed=1)).any()


def test_poisons_are_stamped_and_relabelled(planted, task):
  _, backdoor = planted(rate=0.25, target=2, num_classes=4, size=2)
  hit = np.asarray(backdoor.role) == POISON
  assert hit.sum() == 16
  assert (np.asarray(backdoor.train.image)[hit, 6:, 6:] == 255).all()
  assert (np.asarray(backdoor.train.label)[hit] == 2).all()
  np.testing.assert_array_equal(
    np.asarray(backdoor.train.image)[~hit], np.asarray(task.train.image)[~hit]
  )


def test_all_to_all_moves_every_label(planted, task):
  _, backdoor = planted(rate=0.25, mode="all2all", num_classes=4, size=2)
  hit = np.asarray(backdoor.role) == POISON
  before = np.asarray(task.train.label)[hit]
  got = np.asarray(backdoor.train.label)[hit]
  np.testing.assert_array_equal(got, (before + 1) % 4)


def test_the_backdoor_gets_in(shares, task):
  recipe = task.recipe.replace(epochs=30, lr=0.1)
  attack = badnets.make(rate=0.25, num_classes=4)
  plain = task.replace(recipe=recipe, view=lambda key, batch: batch)
  hit, taken, _ = shares(attack, plain)
  assert hit > 0.9 and taken < 0.3


def test_a_picture_of_ones_own_is_fitted_into_the_square(planted):
  picture = jnp.tile(jnp.array([0.2, 0.4, 0.6]), (8, 6, 1))
  got = stamped(planted, image=picture, size=2)
  np.testing.assert_allclose(got[:, 6:, 6:, 0], 0.2, rtol=1e-6)
  np.testing.assert_allclose(got[:, 6:, 6:, 2], 0.6, rtol=1e-6)
  assert (got[:, :6] == np.asarray(GRAY)[:, :6]).all()


@pytest.mark.parametrize("pattern", ["white", "grid", "random"])
def test_a_share_of_the_side_is_that_many_pixels(planted, pattern):
  share = stamped(planted, size=0.25, pattern=pattern)
  np.testing.assert_array_equal(
    share, stamped(planted, size=2, pattern=pattern)
  )
