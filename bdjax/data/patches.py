"""Patches: pictures that replace what lies under a mask, in a corner or not."""

import jax
import jax.numpy as jnp

from bdjax.machine import programs
from bdjax.types import Array, Images, Key, Params


def paste(key: Key | None, images: Images, params: Params) -> Images:
  """Returns the images with a pattern laid over them: a `types.Trigger`.

  Args:
    key: not used.
    images: [B, H, W, C].
    params: "mask" [1, H, W, 1 or C], opacity in [0, 1], and "pattern"
      [1, H, W, C].
  """
  del key
  return images + params["mask"] * (params["pattern"] - images)


def squashed(w: Array) -> Array:
  """Returns pixels (tanh w + 1) / 2 in [0, 1], which optimizers may move."""
  return (jnp.tanh(w) + 1) / 2


def in_pixels(size: float, whole: int) -> int:
  """Returns a number of pixels.

  Args:
    size: that number; or below 1 a share of `whole`, which is 1 pixel at least.
    whole: pixels of the image's shorter side, or of all of it.
  """
  return max(1, round(size * whole)) if 0 < size < 1 else int(size)


def square(
  label: str,
  shape: tuple[int, ...],
  size: float,
  *,
  corner: str = "bottom_right",
) -> Array:
  """Returns the mask of a square that lies flush in a corner, [1, H, W, 1].

  Args:
    label: of the size, for the error: badnets.size, say.
    shape: (H, W, C) of the images.
    size: its side in pixels, or as a share of the image's shorter side.
    corner: bottom_right or top_left.

  Raises:
    ValueError: it does not fit.
  """
  height, width = shape[:2]
  size = in_pixels(size, min(height, width))
  if not 1 <= size <= min(height, width):
    raise ValueError(
      f"{label} is {size}, but images are {height}x{width}: give a side "
      f"between 1 and {min(height, width)}."
    )
  row, column = jnp.indices((height, width))
  if corner == "top_left":
    inside = (row < size) & (column < size)
  else:
    inside = (row >= height - size) & (column >= width - size)
  return jnp.float32(inside)[None, :, :, None]


def opacity(
  mask: Array, shape: tuple[int, ...], *, label: str = "mask"
) -> Array:
  """Returns a picture as a mask for images of a shape, [1, H, W, 1].

  Args:
    mask: [h, w, c] in [0, 1]; its colours are averaged.
    shape: (H, W, C) of the images.
    label: of the picture, for the error: imc.mask, say.

  Raises:
    ValueError: it covers nothing.
  """
  with jax.ensure_compile_time_eval():  # so that it is known when traced
    check_covers(label, _gray(mask, shape))
  return _gray(mask, shape)


def check_covers(label: str, mask: Array, *, above: float = 0.0) -> None:
  """Refuses a mask that is above a number nowhere, unless it is traced.

  Args:
    label: of the picture that it is made of, for the error.
    mask: of any shape, at the size of the data.
    above: which number.

  Raises:
    ValueError: with the remedy.
  """
  there = (mask > above).any()
  if not programs.traced(there) and not there:
    raise ValueError(
      f"{label} has no pixel above {above:g} at the size of the data, so the "
      "patch would cover nothing: make it brighter or larger."
    )


def _gray(mask: Array, shape: tuple[int, ...]) -> Array:
  gray = jnp.asarray(mask, jnp.float32).mean(-1, keepdims=True)
  return jax.image.resize(gray, (*shape[:2], 1), "linear")[None]
