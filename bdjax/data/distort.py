"""Distortions of contrastive pre-training: resized crops and color jitter.

SimCLR (Chen et al., arXiv 2002.05709) draws its two views with them. They run
on the device and for a whole batch at once; each operation means what it means
in torchvision on float images. `axis` is the one of the colors, 1 for images
that are kept in planes, which is faster for many operations in a row.

Deviations from torchvision: the order of color operations is drawn once per
batch, not per image; luma weights are Pillow's, with three digits; nothing is
rounded to bytes in between.
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp

from bdjax.data import augment
from bdjax.types import Array, Batch, Images, Key, Scalar, View

_LUMA = (0.299, 0.587, 0.114)
_TRIES = 10  # torchvision's
_ORDERS = tuple(itertools.permutations(range(4)))


def boxes(
  key: Key,
  shape: tuple[int, int, int],
  *,
  scale: tuple[Scalar, Scalar],
  ratio: tuple[float, float],
) -> Array:
  """Draws a box per image: area share uniform, aspect log-uniform.

  As in torchvision the first of ten draws that fits the image is taken, and a
  central crop of the nearest allowed aspect if none does; here all ten are
  always drawn.

  Args:
    key: draws areas, aspects and places.
    shape: number of images, their height, their width.
    scale: least and greatest share of the image's area.
    ratio: least and greatest width over height.

  Returns:
    [B, 4] int32: top, left, height, width in whole pixels.
  """
  count, height, width = shape
  # One draw for all numbers, since each one more is slow to compile.
  draws = jax.random.uniform(key, (count, 2 * _TRIES + 2))
  share, aspect, place = jnp.split(draws, (_TRIES, 2 * _TRIES), axis=1)
  area = height * width * _between(share, scale[0], scale[1])
  narrow, wide = map(math.log, ratio)
  aspect = jnp.exp(_between(aspect, narrow, wide))
  sides = jnp.stack([jnp.sqrt(area / aspect), jnp.sqrt(area * aspect)], -1)
  sides = jnp.round(sides).astype(jnp.int32)
  full = jnp.array([height, width])
  fits = ((sides > 0) & (sides <= full[None, None])).all(-1)
  first = jnp.argmax(fits, axis=1)[:, None, None]
  sides = jnp.take_along_axis(sides, first, axis=1)[:, 0]
  corner = jnp.floor(place * (full[None] - sides + 1)).astype(jnp.int32)
  box = jnp.concatenate([corner, sides], axis=1)
  central = jnp.array(_central(height, width, ratio))
  return jnp.where(fits.any(1)[:, None], box, central[None])


def _between(draws: Array, low: Scalar, high: Scalar) -> Array:
  return low + draws * (high - low)


def _central(
  height: int, width: int, ratio: tuple[float, float]
) -> tuple[int, int, int, int]:
  low, high = ratio
  tall = min(height, round(width / low))
  wide = min(width, round(height * high))
  return (height - tall) // 2, (width - wide) // 2, tall, wide


def resample(images: Images, box: Array) -> Images:
  """Returns each image's box, enlarged to the image's size.

  Bilinear, between centers of pixels; at its edges a box sees its own pixels
  only, as if cut out first. Boxes are not larger than the image, so that
  nothing has to be smoothed.

  Args:
    images: to cut from.
    box: [B, 4] top, left, height, width in whole pixels.
  """
  count, height, width, channels = images.shape
  rows = _weights(box[:, 0], box[:, 2], height)
  columns = _weights(box[:, 1], box[:, 3], width)
  exact = jax.lax.Precision.HIGHEST  # else accelerators round to 16 bits
  lines = images.reshape(count, height, width * channels)
  tall = jnp.einsum("boh,bhx->box", rows, lines, precision=exact)
  tall = tall.reshape(count, height, width, channels)
  return jnp.einsum("bpw,bowc->bopc", columns, tall, precision=exact)


def _weights(start: Array, length: Array, size: int) -> Array:
  """Returns what each input adds to each output, [B, output, input]."""
  start, length = start[:, None], length[:, None].astype(jnp.float32)
  pixels = jnp.arange(size, dtype=jnp.float32)
  place = (pixels[None] + 0.5) * (length / size) - 0.5
  place = start + jnp.clip(place, 0, length - 1)
  distance = jnp.abs(place[:, :, None] - pixels[None, None])
  return jnp.maximum(1 - distance, 0)


def resized_crop(
  key: Key,
  images: Images,
  *,
  scale: tuple[Scalar, Scalar] = (0.08, 1.0),
  ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Images:
  """Cuts a random box out of each image and enlarges it to the image's size.

  Args:
    key: draws the boxes; see `boxes`.
    images: to cut from.
    scale: least and greatest share of the image's area.
    ratio: least and greatest width over height.
  """
  box = boxes(key, images.shape[:3], scale=scale, ratio=ratio)
  return resample(images, box)


def gray(images: Images, *, axis: int = -1) -> Images:
  """Returns the images' luma in all three colors."""
  luma = _luma(*_colors(images, axis))
  return jnp.broadcast_to(luma, images.shape)


def brightness(images: Images, factor: Array) -> Images:
  """Multiplies each image by its factor [B]: 0 is black, 1 no change."""
  return jnp.clip(_each(factor) * images, 0, 1)


def contrast(images: Images, factor: Array, *, axis: int = -1) -> Images:
  """Scales each image's distance from its mean luma by its factor [B]."""
  mean = _luma(*_colors(images, axis)).mean((1, 2, 3), keepdims=True)
  return _blend(images, mean, factor)


def saturation(images: Images, factor: Array, *, axis: int = -1) -> Images:
  """Scales colors' distance from their own luma by a factor [B]: 0 is gray."""
  return _blend(images, _luma(*_colors(images, axis)), factor)


def hue(images: Images, shift: Array, *, axis: int = -1) -> Images:
  """Turns the hue by a share of the circle [B]; keeps HSV's other two.

  Instead of going to HSV and back, each color falls from the greatest to the
  least by its distance on the circle, in units of their difference: no division
  and no branches.
  """
  red, green, blue = _colors(images, axis)
  top = jnp.maximum(jnp.maximum(red, green), blue)
  chroma = top - jnp.minimum(jnp.minimum(red, green), blue)
  angle = jnp.where(
    top == red,
    green - blue,
    jnp.where(top == green, 2 * chroma + blue - red, 4 * chroma + red - green),
  )  # chroma times the hue in sixths of a circle, -1 to 5

  def turned(phase):
    # A color is least where its angle to `phase` is half a circle.
    offset = (_each(6 * shift) + phase) % 6 - 6
    off = jnp.abs(angle + offset * chroma)
    off = jnp.minimum(off, jnp.abs(6 * chroma - off))
    return top - jnp.clip(2 * chroma - off, 0, chroma)

  return jnp.concatenate([turned(p) for p in (3.0, 1.0, 5.0)], axis)


def _colors(images: Images, axis: int) -> list[Array]:
  if images.shape[axis] != 3:
    raise ValueError(
      f"Colors are distorted in RGB images, but these have "
      f"{images.shape[axis]} channels on axis {axis}; repeat gray ones."
    )
  return jnp.split(images, 3, axis)


def _luma(red: Array, green: Array, blue: Array) -> Array:
  return _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue


def _each(numbers: Array) -> Array:
  return numbers[:, None, None, None]


def _blend(images: Images, other: Array, factor: Array) -> Images:
  factor = _each(factor)
  return jnp.clip(factor * images + (1 - factor) * other, 0, 1)


def jitter(
  key: Key,
  images: Images,
  *,
  brightness: Scalar = 0.4,
  contrast: Scalar = 0.4,
  saturation: Scalar = 0.4,
  hue: Scalar = 0.1,
  axis: int = -1,
) -> Images:
  """Changes the colors of each image in four ways.

  The order of the four is drawn once per batch, where torchvision draws it per
  image: so a batch runs each operation once.

  Args:
    key: draws strengths and order.
    images: to change.
    brightness: factors are uniform in 1 -/+ this, and not negative.
    contrast: as for brightness.
    saturation: as for brightness.
    hue: shifts are uniform in -/+ this share of the circle, at most 0.5.
    axis: of the colors.
  """
  k_strength, k_order = jax.random.split(key)
  draws = jax.random.uniform(k_strength, (4, images.shape[0]))
  widths = (brightness, contrast, saturation)
  strengths = [
    _between(draw, jnp.maximum(0.0, 1.0 - width), 1.0 + width)
    for draw, width in zip(draws[:3], widths, strict=True)
  ]
  strengths = jnp.stack([*strengths, _between(draws[3], -hue, hue)])
  order = jnp.array(_ORDERS)[jax.random.randint(k_order, (), 0, len(_ORDERS))]
  return _in_order(images, strengths, order, axis=axis)


def _in_order(
  images: Images, strengths: Array, order: Array, *, axis: int
) -> Images:
  changes = [
    functools.partial(change, axis=axis)
    for change in (contrast, saturation, hue)
  ]

  def turn(i, images):
    which = order[i]
    return jax.lax.switch(
      which, [brightness, *changes], images, strengths[which]
    )

  return jax.lax.fori_loop(0, 4, turn, images)


def recolor(key: Key, images: Images) -> Images:
  """Applies SimCLR's colors: `jitter` to 80 % of images, gray to 20 %.

  The strengths 0.4, 0.4, 0.4 and 0.1 are those for CIFAR-10 in the code of
  BadEncoder (Jia et al., arXiv 2108.00352).

  Args:
    key: draws strengths, order and which images.
    images: to change.
  """
  k_jitter, k_chance = jax.random.split(key)
  planes = jnp.moveaxis(images, -1, 1)
  draws = jax.random.uniform(k_chance, (2, images.shape[0]))
  changed, plain = draws < jnp.array([[0.8], [0.2]])
  vivid = jitter(k_jitter, planes, axis=1)
  planes = jnp.where(_each(changed), vivid, planes)
  planes = jnp.where(_each(plain), gray(planes, axis=1), planes)
  return jnp.moveaxis(planes, 1, -1)


def simclr(*, scale: tuple[Scalar, Scalar] = (0.08, 1.0)) -> View:
  """Returns SimCLR's view of small images: crop, flip, `recolor`; no blur.

  Args:
    scale: least and greatest share of the image's area that a crop keeps.
  """

  def view(key: Key, batch: Batch) -> Batch:
    k_crop, k_flip, k_color = jax.random.split(key, 3)
    images = resized_crop(k_crop, batch.image, scale=scale)
    images = augment.flip(k_flip, images)
    return batch._replace(image=recolor(k_color, images))

  return view
