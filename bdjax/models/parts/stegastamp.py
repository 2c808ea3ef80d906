"""StegaStamp: one network hides bits in images, another reads them.

Tancik et al., "StegaStamp: Invisible Hyperlinks in Physical Photographs", CVPR
2020, arXiv 1904.05343, in the form that BackdoorBench has for small images. The
encoder lays the bits, through a dense layer on 16 x 16 places, over the image
as further channels; 3x3 convolutions of stride 2 lead inwards, doublings (the
nearest pixel) with a 2x2 convolution outwards, each joined to what was there on
the way in; the last convolution gives what is added to the image. The decoder
has seven 3x3 convolutions, five of stride 2, and two dense layers. ReLU after
all but the last; no batch norm. Weights are drawn for ReLU (He et al. 2015) and
biases start at zero, by which bits are learned sooner than from PyTorch's.

The image is halved four times, or as often as its sides can be: 8x8 three
times. Of small images the bits have fewer places.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from bdjax.models.parts import autoencoder, base
from bdjax.models.parts.conv import conv_general_dilated
from bdjax.types import Array, Images

PLACES = 16  # per side, of the bits over the image
SAME = ((1, 1), (1, 1))
AFTER = ((0, 1), (0, 1))
NONE = ((0, 0), (0, 0))
_init = nn.initializers.he_normal()


class Encoder(base.Network):
  """Hides bits in images.

  Attributes:
    width: channels at full size; StegaStamp's are 32.
  """

  width: int = 32

  @nn.compact
  def __call__(self, images: Images, bits: Array) -> Array:
    """Returns what is to be added, [B, H, W, C].

    Args:
      images: [B, H, W, C].
      bits: [B, n], 0 or 1.

    Raises:
      ValueError: a side of the images is odd.
    """
    size, height, width, channels = images.shape
    rows, columns = min(PLACES, height), min(PLACES, width)
    spread = _dense(rows * columns * channels, "spread")(bits)
    spread = nn.relu(spread).reshape(size, rows, columns, channels)
    spread = jax.image.resize(spread, images.shape, "nearest")
    inputs = x = jnp.concatenate([spread, images], -1)
    depth = autoencoder.levels(height, width)
    widths = [self.width * 2 ** max(i - 1, 0) for i in range(depth + 1)]
    ways = []
    for i, channels_in in enumerate(widths):
      x = _conv(x, channels_in, f"down{i}", stride=min(i + 1, 2))
      ways.append(x)
    for i in reversed(range(depth)):
      x = _conv(_double(x), widths[i], f"up{i}", size=2, padding=AFTER)
      joined = [ways[i], x] if i else [ways[i], x, inputs]
      x = _conv(jnp.concatenate(joined, -1), widths[i], f"merge{i}")
    x = _conv(x, self.width, "last")
    return _conv(x, channels, "residual", size=1, padding=NONE, relu=False)


class Decoder(base.Network):
  """Reads the bits.

  Attributes:
    bits: how many.
    width: channels at first; StegaStamp's are 32.
  """

  bits: int
  width: int = 32

  @nn.compact
  def __call__(self, images: Images) -> Array:
    """Returns logits of the bits, [B, bits]."""
    x = images
    for i, (times, stride) in enumerate(
      ((1, 2), (1, 1), (2, 2), (2, 1), (2, 2), (4, 2), (4, 2))
    ):
      x = _conv(x, times * self.width, f"conv{i}", stride=stride)
    x = nn.relu(_dense(16 * self.width, "dense")(x.reshape(len(x), -1)))
    return _dense(self.bits, "bits")(x)


def _dense(features: int, name: str) -> nn.Module:
  return nn.Dense(features, kernel_init=_init, name=name)


def _conv(
  x: Array,
  channels: int,
  name: str,
  *,
  size: int = 3,
  stride: int = 1,
  padding: tuple[tuple[int, int], ...] = SAME,
  relu: bool = True,
) -> Array:
  x = nn.Conv(
    channels,
    (size, size),
    strides=(stride, stride),
    padding=padding,
    kernel_init=_init,
    conv_general_dilated=conv_general_dilated,
    name=name,
  )(x)
  return nn.relu(x) if relu else x


def _double(x: Array) -> Array:
  return jnp.repeat(jnp.repeat(x, 2, 1), 2, 2)
