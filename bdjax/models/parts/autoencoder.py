"""A convolutional auto-encoder with images on both ends, LIRA's generator.

As in the code of LIRA (Doan et al., ICCV 2021): 4x4 convolutions of stride 2
with 16, 32, 64 and 128 channels, each with batch norm and ReLU, and as many
transposed convolutions back to the image's size, the last one with tanh.

Four levels need sides divisible by 16. Smaller or odder images get as many
levels as their sides can be halved: 32x32 and 64x64 four, 8x8 three (down to
1x1), 28x28 two. Weights are drawn as PyTorch draws them; biases start at zero
instead. An output pixel of a transposed convolution sees 2 x 2 of the 4 x 4
taps; which of them depends on the parity of its place. So the convolution is
written as one of 2 x 2 taps with the four parities as channels, at a quarter of
the cost of putting zeros between the pixels.

Parameter tree: down0.. and down_bn0.. inwards, up0.. and up_bn0.. outwards,
numbered by how often the image is halved where they start or end.
"""

import flax.linen as nn
import jax.numpy as jnp

from bdjax.models.parts import base, layers
from bdjax.models.parts.conv import conv_general_dilated
from bdjax.types import Array, Images

# PyTorch counts a transposed convolution's fan by what it puts out.
_transposed_default = nn.initializers.variance_scaling(
  1 / 3, "fan_out", "uniform"
)


class Autoencoder(base.Network):
  """An image-to-image network; see the module's docstring.

  Attributes:
    width: channels at half the size, doubled each time that it is halved.
  """

  width: int = 16

  @nn.compact
  def __call__(self, x: Images, train: bool = False) -> Array:
    """Maps [B, H, W, C] to the same shape, in [-1, 1].

    Raises:
      ValueError: a side of the images is odd.
    """
    depth, channels = levels(*x.shape[1:3]), x.shape[-1]
    for i in range(depth):
      x = _norm(_down(x, self.width * 2**i, f"down{i}"), train, f"down_bn{i}")
    for i in reversed(range(1, depth)):
      up = _Up(self.width * 2 ** (i - 1), name=f"up{i}")
      x = _norm(up(x), train, f"up_bn{i}")
    return nn.tanh(_Up(channels, name="up0")(x))


def levels(height: int, width: int) -> int:
  """Returns how often images of a size are halved: at most four times.

  Raises:
    ValueError: a side is odd.
  """
  fit = [i for i in range(1, 5) if not height % 2**i and not width % 2**i]
  if not fit:
    raise ValueError(
      f"the images are {height}x{width}, but the auto-encoder halves them: "
      "give images with even sides."
    )
  return fit[-1]


def _norm(x: Array, train: bool, name: str) -> Array:
  return nn.relu(layers.batch_norm(train, name=name, dtype="float32")(x))


def _down(x: Array, channels: int, name: str) -> Array:
  return nn.Conv(
    channels,
    (4, 4),
    strides=(2, 2),
    padding=((1, 1), (1, 1)),
    kernel_init=layers.torch_default,
    conv_general_dilated=conv_general_dilated,
    name=name,
  )(x)


class _Up(nn.Module):
  """A 4x4 transposed convolution of stride 2 and padding 1."""

  channels: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, h, w, C] to [B, 2h, 2w, channels]."""
    batch, h, w, _ = x.shape
    y = nn.Conv(
      4 * self.channels,
      (2, 2),
      padding=((1, 1), (1, 1)),
      use_bias=False,
      kernel_init=_transposed_default,
      conv_general_dilated=conv_general_dilated,
      name="conv",
    )(x)
    y = y.reshape(batch, h + 1, w + 1, 2, 2, self.channels)
    y = jnp.stack([y[:, :h, :, 0], y[:, 1:, :, 1]], 2)
    y = jnp.stack([y[:, :, :, :w, 0], y[:, :, :, 1:, 1]], 4)
    bias = self.param("bias", nn.initializers.zeros, (self.channels,))
    y = y.reshape(batch, 2 * h, 2 * w, self.channels)
    return y + bias.reshape(1, 1, 1, -1)
