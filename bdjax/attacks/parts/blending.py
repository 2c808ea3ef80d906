"""The picture of the attacks that mix one over images, and the mixing."""

import jax
import jax.numpy as jnp

from bdjax.types import Array, Images, Scalar


def picture(
  image: Array | None, seed: int, shape: tuple[int, int, int]
) -> Array:
  """Returns the picture that is mixed over images, [1, H, W, C] in [0, 1].

  Args:
    image: [h, w, C] in [0, 1], resized to the data; None for a pattern of
      smooth random colours over the whole frame.
    seed: of that pattern.
    shape: (H, W, C) of the data.
  """
  if image is None:
    return _smooth_noise(jax.random.key(seed), shape)[None]
  return jax.image.resize(image, shape, "linear")[None]


def mixed(images: Images, alpha: Scalar | Array, picture: Array) -> Images:
  """Returns (1 - alpha) x + alpha K, for images x and a picture K."""
  return images + alpha * (picture - images)


def _smooth_noise(key: Array, shape: tuple[int, ...]) -> Array:
  """Returns random colours on an 8 x 8 grid, smoothed to [H, W, C]."""
  coarse = jax.random.uniform(key, (8, 8, shape[2]))
  smooth = jax.image.resize(coarse, shape, "cubic")
  low, high = (f(smooth, (0, 1), keepdims=True) for f in (jnp.min, jnp.max))
  return (smooth - low) / (high - low)
