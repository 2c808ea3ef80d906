"""A signal in one channel, followed through a network by itself.

Once a channel is cut free from all others, what it holds depends on its own
weights only, so clean and triggered responses can be followed, and each batch
norm on the way be set, without running the network.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from bdjax.models.parts.conv import conv_general_dilated
from bdjax.types import Array, Scalar

EPSILON = 1e-5  # batch norm's, see `layers.batch_norm`


class Pair(NamedTuple):
  """The same images without and with the trigger; later their responses."""

  clean: Array  # [B, h, w, C]
  hit: Array  # [B, h, w, C]


def convolve(signal: Pair, kernel: Array, stride: int) -> Pair:
  """Returns the responses to a kernel [kh, kw, C, D], padded by kh // 2."""
  pad = ((kernel.shape[0] // 2,) * 2, (kernel.shape[1] // 2,) * 2)
  strides = (stride, stride)
  return Pair(*(conv_general_dilated(x, kernel, strides, pad) for x in signal))


def max_pool(signal: Pair) -> Pair:
  """Returns the maxima of 3 x 3 windows at stride 2, as in a ResNet's stem."""
  pad = ((1, 1), (1, 1))
  return Pair(*(nn.max_pool(x, (3, 3), (2, 2), pad) for x in signal))


def detector(
  signal: Pair, shape: tuple[int, ...], stride: int, *, at: tuple[float, float]
) -> Array:
  """Returns the kernel that tells a triggered place from clean ones best.

  Fisher's linear discriminant: the inverse covariance of clean windows times
  the difference of the means; normalized.

  Args:
    signal: what the kernel will see.
    shape: (kh, kw, C) of the kernel.
    stride: of its convolution.
    at: row and column of the trigger's center.

  Returns:
    [kh, kw, C, 1] of norm 1.
  """
  size = [-(-n // stride) for n in signal.clean.shape[1:3]]
  place = [min(round(a / stride), n - 1) for a, n in zip(at, size, strict=True)]

  def moments(pair):
    clean, hit = (_windows(x, shape, stride, size) for x in pair)
    flat = clean.reshape(-1, clean.shape[-1])
    return flat.mean(0), flat.T @ flat / len(flat), hit[place[0], place[1]]

  mean, second, hit = (x.mean(0) for x in jax.lax.map(moments, signal))
  covariance = second - jnp.outer(mean, mean)
  # A little of the mean variance keeps the inverse finite on flat images.
  ridge = 1e-3 * jnp.trace(covariance) / len(mean) + 1e-6
  covariance += ridge * jnp.eye(len(mean))
  kernel = jnp.linalg.solve(covariance, hit - mean)
  kernel = kernel / jnp.maximum(jnp.linalg.norm(kernel), 1e-12)
  return kernel.reshape(shape)[..., None]


def _windows(
  x: Array, shape: tuple[int, ...], stride: int, size: list[int]
) -> Array:
  """Returns what a kernel sees at each place, [h, w, kh * kw * C]."""
  high, wide, _ = shape
  padded = jnp.pad(x, ((high // 2,) * 2, (wide // 2,) * 2, (0, 0)))
  parts = [
    padded[i::stride, j::stride][: size[0], : size[1]]
    for i in range(high)
    for j in range(wide)
  ]
  return jnp.concatenate(parts, axis=-1)


def gate(signal: Pair, guard: Scalar) -> tuple[dict[str, Array], Pair]:
  """Returns a batch norm that lets only triggered responses through its ReLU.

  With mu and sigma those of a clean image's largest response, a response of
  mu + guard * sigma becomes zero and a triggered image's largest, on average,
  one. The zero lies no higher than the middle of the two means.

  Args:
    signal: before the norm, [B, h, w, 1].
    guard: in standard deviations.

  Returns:
    The norm's scale, bias, mean and var (the last two those of the clean
    responses), and the signal after norm and ReLU.
  """
  tops = Pair(*(x.max(axis=(1, 2, 3)) for x in signal))
  low, spread, high = tops.clean.mean(), tops.clean.std(), tops.hit.mean()
  zero = jnp.minimum(low + guard * spread, (low + high) / 2)
  # Where the trigger does not stand out, a steeper gate would only add noise.
  reach = jnp.maximum(high - zero, spread + 1e-6)
  mean, var = signal.clean.mean(), signal.clean.var()
  norm = {
    "scale": jnp.sqrt(var + EPSILON) / reach,
    "bias": (mean - zero) / reach,
    "mean": mean,
    "var": var,
  }
  after = Pair(*(nn.relu((x - zero) / reach) for x in signal))
  return norm, after
