import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.models.parts import ushape

NORM = {"mean": (0.5,) * 3, "std": (0.25,) * 3}


def shaped(channels, size=32):
  net = ushape.make(channels, **NORM)
  images = jnp.zeros((2, size, size, 3))
  return jax.eval_shape(lambda: net.init_with_output(jax.random.key(0), images))


@pytest.mark.parametrize(("channels", "count"), [(3, 723_273), (1, 722_691)])
def test_parameters_are_the_papers(channels, count):
  made, variables = shaped(channels)
  assert made.shape == (2, 32, 32, channels)
  assert sum(x.size for x in jax.tree.leaves(variables["params"])) == count


def test_sides_must_be_multiples_of_8():
  with pytest.raises(ValueError, match="28x28, but the generator halves"):
    shaped(3, size=28)


def test_doubling_is_half_pixel_bilinear():
  x = jnp.array([[0.0, 4.0], [8.0, 12.0]]).reshape(1, 2, 2, 1)
  wanted = [[0, 1, 3, 4], [2, 3, 5, 6], [6, 7, 9, 10], [8, 9, 11, 12]]
  np.testing.assert_allclose(ushape.double(x)[0, :, :, 0], wanted, rtol=1e-6)


def test_halving_takes_maxima():
  x = jnp.arange(16.0).reshape(1, 4, 4, 1).at[0, 0, 0, 0].set(99)
  np.testing.assert_array_equal(
    ushape.halve(x)[0, :, :, 0], [[99, 7], [13, 15]]
  )


def test_squashing_twice_keeps_away_from_the_ends():
  rng = np.random.default_rng(0)
  images = jnp.asarray(rng.random((2, 8, 8, 3)), jnp.float32)
  once, twice = (ushape.make(3, twice=two, **NORM) for two in (False, True))
  _, shapes = shaped(3, size=8)
  loud = jax.tree.map(lambda x: rng.random(x.shape).astype("f4") - 0.5, shapes)
  loud["batch_stats"] = jax.tree.map(np.abs, loud["batch_stats"])
  a, b = jax.jit(lambda v: [n.apply(v, images) for n in (once, twice)])(loud)
  np.testing.assert_allclose(b, np.tanh(2 * a - 1) / 2 + 0.5, atol=1e-5)
  assert a.min() < 0.119 and a.max() > 0.881
  assert b.min() > 0.119 and b.max() < 0.881


def test_hard_masks():
  got = ushape.harden(jnp.array([0.0, 0.45, 0.5, 0.55, 1.0]))
  wanted = [0, 0.5 - np.tanh(1) / 2, 0.5, 0.5 + np.tanh(1) / 2, 1]
  np.testing.assert_allclose(got, wanted, atol=1e-6)


# Three constant pictures, 0, 3 and 7: neighbours 3, 4 and 7 apart.
PICTURES = jnp.array([0.0, 3, 7]).reshape(3, 1, 1, 1) * jnp.ones((1, 2, 2, 3))
# Half of the pixels differ, so their distances are those of the values / 2^.5.
MADE = jnp.array([0.0, 1, 0.2]).reshape(3, 1, 1, 1) * jnp.array(
  [[1.0, 0], [0, 1]]
).reshape(1, 2, 2, 1)


def test_contrast_is_the_ratio_of_root_mean_squares():
  got = ushape.contrast(PICTURES, MADE)
  wanted = np.array([3 / 1, 4 / 0.8, 7 / 0.2]) * 2**0.5
  np.testing.assert_allclose(got, wanted, rtol=1e-5)


def test_mask_loss_adds_excess_and_likeness():
  weights = ushape.Weights(density=0.1, sparsity=100.0, diversity=0.0)
  # Of 12 values two are 1, .9 too much, and two are .2, .1 too much.
  got = ushape.mask_loss(PICTURES, MADE, weights)
  np.testing.assert_allclose(got, 100 * (2 * 0.9 + 2 * 0.1) / 12, rtol=1e-6)
  both = ushape.mask_loss(
    PICTURES, MADE, dataclasses.replace(weights, diversity=2.0)
  )
  wanted = 2 * (3 / 1 + 4 / 0.8 + 7 / 0.2) * 2**0.5 / 3
  np.testing.assert_allclose(both - got, wanted, rtol=1e-5)


def test_equal_masks_have_a_finite_gradient():
  weights = ushape.Weights(0.1, 100.0, 1.0)

  def loss(masks):
    return ushape.mask_loss(PICTURES, masks, weights)

  grad = jax.grad(loss)(jnp.ones((3, 2, 2, 1)))
  np.testing.assert_allclose(grad, 100 / 12, rtol=1e-6)


def test_the_donors_mask_decides_what_is_replaced():
  pair = ushape.Pair(nn.Dense(3, use_bias=False), nn.Dense(1, use_bias=False))
  images = jnp.full((1, 1, 2, 3), 0.5)
  donors = jnp.array([[[[0.0, 0.2, 0.4], [1.0, 0.2, 0.4]]]])
  params = {
    "pattern": {"params": {"kernel": 2 * jnp.eye(3)}},
    "mask": {"params": {"kernel": jnp.array([[1.0], [0], [0]])}},
  }
  wanted = [[[[0.5, 0.5, 0.5], [2.0, 0.4, 0.8]]]]
  np.testing.assert_allclose(
    pair.stamp(images, donors, params), wanted, atol=1e-6
  )
