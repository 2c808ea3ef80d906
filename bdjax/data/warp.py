"""Warping images: an interpolation matrix, a grid, and sampling along it.

Conventions of PyTorch, which WaNet is defined with: coordinates run from -1 to
1 between the centres of the corner pixels ("align corners"), x (the column)
before y (the row); outside lies black; the bicubic kernel has a = -0.75, where
`jax.image` has -0.5.
"""

import jax.numpy as jnp
import numpy as np

from bdjax.types import Array, Images


def bicubic_matrix(n_in: int, n_out: int) -> np.ndarray:
  """Returns [n_out, n_in] that resizes n_in values to n_out, corners aligned.

  Borders repeat; rows sum to one.
  """
  place = np.linspace(0, n_in - 1, n_out)[:, None]
  near = np.floor(place).astype(int) + np.arange(-1, 3)
  weight = _cubic(np.abs(place - near))
  matrix = np.zeros((n_out, n_in))
  row = np.arange(n_out)[:, None]
  np.add.at(matrix, (row, np.clip(near, 0, n_in - 1)), weight)
  return matrix.astype(np.float32)


def _cubic(distance: np.ndarray, a: float = -0.75) -> np.ndarray:
  d = distance
  within_one = ((a + 2) * d - (a + 3)) * d**2 + 1
  within_two = a * (((d - 5) * d + 8) * d - 4)
  return np.where(d <= 1, within_one, np.where(d < 2, within_two, 0.0))


def identity_grid(height: int, width: int) -> np.ndarray:
  """Returns the grid [1, height, width, 2] that samples every pixel itself."""
  x, y = np.linspace(-1, 1, width), np.linspace(-1, 1, height)
  grid = np.stack(np.meshgrid(x, y), -1)[None]
  return grid.astype(np.float32)


def sample(images: Images, grid: Array) -> Images:
  """Samples images bilinearly at the points of a grid.

  Args:
    images: [B, H, W, C].
    grid: [B, h, w, 2], or [1, h, w, 2] for the same points in every image;
      (x, y) in [-1, 1].

  Returns:
    [B, h, w, C].
  """
  _, height, width, _ = images.shape
  x = (grid[..., 0] + 1) / 2 * (width - 1)
  y = (grid[..., 1] + 1) / 2 * (height - 1)
  left, top = jnp.floor(x), jnp.floor(y)
  right, low = x - left, y - top
  return (
    _pixels(images, left, top, (1 - right) * (1 - low))
    + _pixels(images, left + 1, top, right * (1 - low))
    + _pixels(images, left, top + 1, (1 - right) * low)
    + _pixels(images, left + 1, top + 1, right * low)
  )


def _pixels(images: Images, x: Array, y: Array, weight: Array) -> Array:
  """Returns weighted pixels at whole x, y [B or 1, h, w], black outside."""
  batch, height, width, channels = images.shape
  inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
  x, y = jnp.clip(x, 0, width - 1), jnp.clip(y, 0, height - 1)
  index = (y * width + x).astype(jnp.int32)
  flat = images.reshape(batch, height * width, channels)
  if index.shape[0] == 1:
    values = flat[:, index[0]]
  else:
    values = jnp.take_along_axis(flat, index.reshape(batch, -1, 1), axis=1)
  values = values.reshape(batch, *index.shape[1:], channels)
  return values * jnp.where(inside, weight, 0)[..., None]
