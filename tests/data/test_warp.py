import jax.numpy as jnp
import numpy as np

from bdjax.data import warp


def test_bicubic_matrix_is_the_kernel_by_hand():
  # Four values to seven: every second output is an input, the others lie in the
  # middle, where the kernel with a = -0.75 is -3/32 and 19/32.
  far, near = -3 / 32, 19 / 32
  wanted = [
    [1, 0, 0, 0],
    [far + near, near, far, 0],  # the border repeats
    [0, 1, 0, 0],
    [far, near, near, far],
    [0, 0, 1, 0],
    [0, far, near, near + far],
    [0, 0, 0, 1],
  ]
  np.testing.assert_allclose(warp.bicubic_matrix(4, 7), wanted, atol=1e-7)


def test_bicubic_matrix_at_a_quarter():
  # W(.25), W(.75), W(1.25), W(1.75) of the same kernel, in 1/256.
  row = warp.bicubic_matrix(4, 13)[5] * 256
  np.testing.assert_allclose(row, [-27, 225, 67, -9], atol=1e-4)


def test_identity_grid_is_x_then_y():
  grid = warp.identity_grid(3, 5)
  assert grid.shape == (1, 3, 5, 2)
  np.testing.assert_allclose(grid[0, 0, :, 0], [-1, -0.5, 0, 0.5, 1])
  np.testing.assert_allclose(grid[0, :, 0, 1], [-1, 0, 1])


IMAGE = jnp.arange(12.0).reshape(1, 3, 4, 1)  # row r, column c holds 4 r + c


def at(*points):
  """Returns what lies at fractional (column, row) points of IMAGE."""
  grid = [[[2 * c / 3 - 1, r - 1] for c, r in points]]
  return warp.sample(IMAGE, jnp.array([grid])).ravel()


def test_sampling_interpolates_columns_and_rows():
  got = at((0, 0), (3, 2), (1.25, 0.5), (2, 1.75))
  np.testing.assert_allclose(got, [0, 11, 3.25, 9], rtol=1e-5, atol=1e-5)


def test_outside_lies_black():
  got = at((3.5, 0), (0, 2.25), (-0.75, 1), (9, 9))
  np.testing.assert_allclose(got, [1.5, 6, 1, 0], rtol=1e-5, atol=1e-5)


def test_a_shared_grid_is_that_grid_for_each():
  rng = np.random.default_rng(0)
  images = jnp.asarray(rng.random((3, 5, 4, 2)), jnp.float32)
  grid = jnp.asarray(rng.uniform(-1.2, 1.2, (1, 6, 7, 2)), jnp.float32)
  each = jnp.tile(grid, (3, 1, 1, 1))
  shared = warp.sample(images, grid)
  assert shared.shape == (3, 6, 7, 2)
  np.testing.assert_allclose(shared, warp.sample(images, each), atol=1e-6)
