"""The generators of the input-aware backdoor: U-shaped, image in, image out.

Nguyen and Tran 2020 (arXiv 2010.08138). Three times two blocks (conv3x3 with
bias, batch norm, ReLU) and a 2x2 maximum, with 32, 64 and 128 channels; a
middle block; three times a doubling and two blocks, the last without ReLU. No
skip connections. Biases start at zero: batch norm takes them out again.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from bdjax.methods.signature import NonNegative, Rate
from bdjax.models.parts import base, layers
from bdjax.types import Array, Images, Params


class UShape(base.Network):
  """Encoder and decoder with outputs in (0, 1).

  Attributes:
    channels: of the output.
    mean: per channel of the input, in [0, 1].
    std: per channel of the input, in [0, 1].
    twice: squash the output by tanh twice, which leaves it in (.119, .881).
    width: channels at full size, doubled each time that it is halved.
  """

  channels: int
  mean: tuple[float, ...]
  std: tuple[float, ...]
  twice: bool = False
  width: int = 32

  @nn.compact
  def __call__(self, x: Images, train: bool = False) -> Images:
    """Returns [B, H, W, channels] in (0, 1).

    Raises:
      ValueError: the side of the image is no multiple of 8.
    """
    if x.shape[1] % 8 or x.shape[2] % 8:
      raise ValueError(
        f"the images are {x.shape[1]}x{x.shape[2]}, but the generator halves "
        "them three times: give images whose sides are multiples of 8."
      )
    x = layers.normalize(x, self.mean, self.std, "float32")
    widths = (self.width, 2 * self.width, 4 * self.width)
    for i, width in enumerate(widths):
      x = _block(x, width, train, name=f"down{i + 1}a")
      x = halve(_block(x, width, train, name=f"down{i + 1}b"))
    x = _block(x, widths[-1], train, name="middle")
    outwards = (*widths[::-1], self.channels)
    for i, (width, end) in enumerate(itertools.pairwise(outwards), 1):
      x = _block(double(x), width, train, name=f"up{i}a")
      last = i == len(widths)
      x = _block(x, end, train, name=f"up{i}b", relu=not last)
    x = jnp.tanh(x) if self.twice else x
    return jnp.tanh(x) / 2 + 0.5


def _block(
  x: Array, channels: int, train: bool, *, name: str, relu: bool = True
) -> Array:
  kind = {"init": layers.torch_default, "dtype": "float32", "bias": True}
  x = layers.conv(channels, 3, name=f"{name}_conv", **kind)(x)
  norm = layers.batch_norm(
    train, name=f"{name}_bn", dtype="float32", momentum=0.95
  )
  x = norm(x)
  return nn.relu(x) if relu else x


def halve(x: Array) -> Array:
  """Returns the maxima of 2x2 squares, [B, H, W, C] -> [B, H/2, W/2, C].

  The gradient of a tie is shared, where a pooling layer's goes to the first.
  """
  batch, height, width, channels = x.shape
  squares = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
  return squares.max((2, 4))


def double(x: Array) -> Array:
  """Doubles height and width bilinearly, with half-pixel centres.

  Every new pixel lies a quarter of a pixel from an old one; borders repeat.
  """
  batch, height, width, channels = x.shape
  return jax.image.resize(
    x, (batch, 2 * height, 2 * width, channels), "bilinear"
  )


def make(
  channels: int,
  *,
  mean: Sequence[float],
  std: Sequence[float],
  twice: bool = False,
  width: int = 32,
) -> UShape:
  """Builds the generator; arguments are the attributes of `UShape`."""
  mean, std = layers.check(mean, std)
  return UShape(channels, mean, std, twice, width)


class Pair(NamedTuple):
  """The two generators: one says what is drawn, the other where."""

  pattern: UShape
  mask: UShape

  def spread(self, images: Images) -> Array:
    """Returns images scaled to normalized space, where distances count."""
    std = jnp.asarray(self.pattern.std, jnp.float32)
    return images / std.reshape(1, 1, 1, -1)

  def masks(self, images: Images, variables: Params) -> Array:
    """Returns the hard masks [B, H, W, 1] of the frozen mask generator."""
    return harden(self.mask.apply(variables, images))

  def stamp(self, images: Images, donors: Images, params: Params) -> Images:
    """Returns the images with the triggers that the donors would get.

    Args:
      images: [B, H, W, C].
      donors: [B, H, W, C].
      params: variables of both, under "pattern" and "mask".
    """
    pattern = self.pattern.apply(params["pattern"], donors)
    return images + (pattern - images) * self.masks(donors, params["mask"])


@dataclasses.dataclass(frozen=True)
class Weights:
  """Weights of the generators' losses.

  Attributes:
    density: mask values up to here cost nothing.
    sparsity: weight of the masks' size.
    diversity: weight of masks' and patterns' likeness.
  """

  density: Rate = 0.032
  sparsity: NonNegative = 100.0
  diversity: NonNegative = 1.0


def harden(mask: Array) -> Array:
  """Pushes a mask's values, in (0, 1), towards 0 and 1."""
  return jnp.tanh(20 * mask - 10) / 2 + 0.5


def contrast(images: Array, outputs: Array) -> Array:
  """Returns how far neighbours lie apart, relative to their outputs.

  Args:
    images: [B, H, W, C]; image i is compared to i + 1, the last to the first.
    outputs: [B, H, W, D], what a generator made of the images.

  Returns:
    [B] ratios of distances (root mean squares).
  """
  return _apart(images) / (_apart(outputs) + 1e-7)


def _apart(x: Array) -> Array:
  square = jnp.mean((x - jnp.roll(x, -1, 0)) ** 2, (1, 2, 3))
  # Hard masks can be equal, where the root has no finite gradient.
  return jnp.sqrt(jnp.maximum(square, 1e-14))


def mask_loss(images: Array, masks: Array, weights: Weights) -> Array:
  """Returns the loss of the mask generator, a scalar.

  Args:
    images: [B, H, W, C], in the space where distances count.
    masks: [B, H, W, 1], hard.
  """
  excess = jax.nn.relu(masks - weights.density).mean()
  likeness = contrast(images, masks).mean()
  return weights.sparsity * excess + weights.diversity * likeness
