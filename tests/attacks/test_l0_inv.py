import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.types import POISON

ARGS = {"rounds": 8, "images": 16, "num_classes": 4}


@pytest.fixture(scope="module")
def task(task, small):
  return task.replace(model=small())


def changed(before, after):
  return np.asarray((before != after).any(-1).sum((1, 2)))


@pytest.mark.parametrize(
  ("pixels", "rounds", "left"), [(5, 8, 5), (16, 1, 16), (1, 5, 1), (0.1, 8, 6)]
)
def test_exactly_so_many_pixels_remain(planted, pixels, rounds, left):
  _, backdoor = planted(pixels=pixels, rounds=rounds)
  delta = backdoor.params["delta"]
  assert changed(delta, 0.0).tolist() == [left]


def test_poisons_differ_in_no_more_pixels_after_rounding(planted, task):
  attack, backdoor = planted(pixels=5, rate=0.25)
  hit = np.asarray(backdoor.role) == POISON
  clean = np.asarray(task.train.image)
  dirty = np.asarray(backdoor.train.image)
  count = changed(clean, dirty)
  assert count[hit].max() == 5
  assert not count[~hit].any()
  assert (np.asarray(backdoor.train.label)[hit] == 0).all()


def test_the_second_half_strengthens_what_is_left(planted):
  _, short = planted(rounds=8)
  _, long = planted(rounds=16)
  sizes = [float(jnp.abs(b.params["delta"]).max()) for b in (short, long)]
  assert 0.1 < sizes[0] < sizes[1] <= 1


def test_the_dropped_are_those_that_matter_least(planted, task, small):
  blind = task.replace(model=small(columns=4))
  _, backdoor = planted(blind, pixels=16)
  there = (backdoor.params["delta"] != 0).any(-1)[0]
  assert there[:, :4].sum() == 16
  assert not there[:, 4:].any()


def test_a_given_picture_replaces_under_its_mask(planted):
  image = jnp.full((8, 8, 3), 0.25)
  mask = jnp.zeros((8, 8, 3)).at[2, 3].set(1.0)
  attack, backdoor = planted(image=image, mask=mask)
  images = jnp.full((2, 8, 8, 3), 0.5)
  got = attack.trigger(jax.random.key(1), images, backdoor.params)
  wanted = images.at[:, 2, 3].set(0.25)
  np.testing.assert_allclose(got, wanted, rtol=1e-6)


def test_a_given_picture_without_mask_is_added(planted):
  attack, backdoor = planted(image=jnp.full((8, 8, 3), 0.25))
  images = jnp.full((1, 8, 8, 3), 0.9)
  got = attack.trigger(jax.random.key(1), images, backdoor.params)
  np.testing.assert_allclose(got, 1.0, rtol=1e-6)


def test_a_mask_that_replaces_nothing_is_refused(planted):
  image = jnp.full((8, 8, 3), 0.25)
  with pytest.raises(ValueError, match="l0_inv.mask has no pixel above 0.5"):
    planted(image=image, mask=jnp.full((8, 8, 3), 0.5))


def test_too_many_neurons_are_refused_before_training(planted, task):
  asked = task.replace(clean=lambda fit: pytest.fail("something was trained"))
  with pytest.raises(ValueError, match="neurons is 9, but .* reads 8: choose"):
    planted(asked, neurons=9)


def test_a_mask_alone_and_too_many_pixels_are_refused(planted):
  with pytest.raises(ValueError, match="give both"):
    planted(mask=jnp.ones((8, 8, 3)))
  with pytest.raises(ValueError, match="images have 64"):
    planted(pixels=65)
