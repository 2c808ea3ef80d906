"""A convolution in groups, as a sum over its kernel's taps.

XLA's CPU compiler knows no fast convolution in groups, and its gradients have
no spelling as canonical ones (see `conv`). A sum over the kernel's taps takes
its place there, each a shifted input times the tap's weights; its gradients are
those that JAX derives. A step of two blocks of MobileNetV2 (32 images of 16 x
16, 96 channels inside) took 158 to 172 ms of CPU alone and 115 to 125 in a
scan, with lax's 387 to 422 and 6215 to 6494 (2 cores, two runs, jax 0.10.2).
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from bdjax.types import Array

Pair = tuple[int, int]


class Window(NamedTuple):
  """Where the kernel is applied; per spatial dimension."""

  stride: Pair
  pad: tuple[Pair, Pair]
  input_dilation: Pair
  kernel_dilation: Pair


def summed(window: Window, groups: int, x: Array, kernel: Array) -> Array:
  """Returns y[o] = sum_t x[s o + t - low] k[t], a group's channels apart."""
  pads = zip(window.pad, window.input_dilation, strict=True)
  edges = [(low, high, dilation - 1) for (low, high), dilation in pads]
  x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *edges, (0, 0, 0)])
  spread = window.kernel_dilation
  count = [
    (x.shape[1 + i] - 1 - (kernel.shape[i] - 1) * spread[i]) // window.stride[i]
    for i in range(2)
  ]

  def tap(place: Pair) -> Array:
    first = [t * d for t, d in zip(place, spread, strict=True)]
    last = [
      f + n * s + 1 for f, n, s in zip(first, count, window.stride, strict=True)
    ]
    patch = lax.slice(
      x,
      (0, *first, 0),
      (x.shape[0], *last, x.shape[3]),
      (1, *window.stride, 1),
    )
    return _weighed(patch, kernel[place], groups)

  return sum(map(tap, np.ndindex(*kernel.shape[:2])))


def _weighed(x: Array, weights: Array, groups: int) -> Array:
  """Returns x [B, H, W, C] times weights [C / G, D] in each of G groups."""
  inside, out = weights.shape
  if inside == 1 and out == groups:
    return x * weights.reshape(1, 1, 1, out)
  x = x.reshape(*x.shape[:3], groups, inside)
  weights = weights.reshape(inside, groups, out // groups)
  y = jnp.einsum("bhwgi,igo->bhwgo", x, weights)
  return y.reshape(*y.shape[:3], out)
