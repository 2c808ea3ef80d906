import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.data import patches


def test_paste_mixes_by_the_mask():
  images = jnp.full((2, 1, 2, 3), 0.4)
  mask = jnp.array([0.0, 0.25]).reshape(1, 1, 2, 1)
  pattern = jnp.ones((1, 1, 2, 3))
  got = patches.paste(None, images, {"mask": mask, "pattern": pattern})
  np.testing.assert_allclose(got[:, 0, 0], 0.4, rtol=1e-6)
  np.testing.assert_allclose(got[:, 0, 1], 0.55, rtol=1e-6)


@pytest.mark.parametrize("corner", ["bottom_right", "top_left"])
def test_squares_lie_flush(corner):
  got = patches.square("x.size", (4, 5, 3), 2, corner=corner)
  assert got.shape == (1, 4, 5, 1)
  wanted = np.zeros((4, 5))
  if corner == "top_left":
    wanted[:2, :2] = 1
  else:
    wanted[2:, 3:] = 1
  np.testing.assert_array_equal(got[0, :, :, 0], wanted)


@pytest.mark.parametrize("size", [0, 5])
def test_squares_that_do_not_fit_are_refused(size):
  with pytest.raises(ValueError, match=f"x.size is {size}, but images are 4x5"):
    patches.square("x.size", (4, 5, 3), size)


@pytest.mark.parametrize(
  ("size", "whole", "pixels"),
  [(3, 32, 3), (3, 64, 3), (0.1, 32, 3), (0.1, 224, 22), (0.01, 32, 1)],
)
def test_a_float_is_a_share_of_the_side(size, whole, pixels):
  assert patches.in_pixels(size, whole) == pixels
  shape = (whole, 2 * whole, 3)
  assert patches.square("x.size", shape, size).sum() == pixels**2


def test_opacity_is_gray_and_resized():
  colours = jnp.array([0.0, 0.3, 0.9]).reshape(1, 1, 3)
  got = patches.opacity(jnp.tile(colours, (2, 2, 1)), (4, 6, 3))
  assert got.shape == (1, 4, 6, 1)
  np.testing.assert_allclose(got, 0.4, rtol=1e-6)


def test_a_mask_that_covers_nothing_is_refused():
  black = jnp.zeros((6, 6, 3))
  with pytest.raises(ValueError, match="^imc.mask has no pixel above 0 at the"):
    patches.opacity(black, (4, 4, 3), label="imc.mask")
  faint = jax.eval_shape(lambda x: patches.opacity(x, (4, 4, 3)), black)
  assert faint.shape == (1, 4, 4, 1)  # a traced one passes


def test_squashed_pixels_lie_in_the_unit_interval():
  got = patches.squashed(jnp.array([-20.0, 0.0, 0.5 * np.log(3), 20.0]))
  np.testing.assert_allclose(got, [0, 0.5, 0.75, 1], atol=1e-6)
