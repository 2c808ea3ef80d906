"""A 2-D convolution whose gradients stay fast on a CPU inside a loop.

XLA's CPU compiler hands a convolution to its vectorized kernels only when the
dimension numbers are canonical (NHWC, HWIO, NHWC). The pass that makes them so
was seen to act on a program's entry computation only, so the gradient
convolutions of a `lax.scan` body were emitted as naive loops. One 3x3 layer
with 32 channels, in ms alone / in a scan (2 cores, jax 0.10.2): kernel gradient
7.7 / 497, input gradient 2.7 / 103; written as here 7.7 / 8.2 and 2.7 / 2.6.

So the two gradients are spelled out as canonical convolutions of transposed
arrays, on CPU only; elsewhere they are the ones JAX derives. What counts is the
platform that a program is compiled for, not the one that traces it. They are
convolutions of the same kind, so gradients of gradients work too. Forward-mode
differentiation does not (`jax.jvp`): use reverse over reverse.

Convolutions in groups have no such spelling: XLA's CPU compiler knows none that
is fast. There, a sum over the kernel's taps takes their place, each a shifted
input times the tap's weights; its gradients are those that JAX derives.
A step of two blocks of MobileNetV2 (32 images of 16 x 16, 96 channels inside)
took 158 to 172 ms of CPU alone and 115 to 125 in a scan, with lax's 387 to 422
and 6215 to 6494 (2 cores, two runs, jax 0.10.2).
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bdjax.types import Array

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")
Pair = tuple[int, int]


class _Window(NamedTuple):
  """Where the kernel is applied; per spatial dimension."""

  stride: Pair
  pad: tuple[Pair, Pair]
  input_dilation: Pair
  kernel_dilation: Pair


def conv_general_dilated(
  x: Array,
  kernel: Array,
  window_strides: Sequence[int],
  padding: str | Sequence[Pair],
  *,
  lhs_dilation: Sequence[int] = (1, 1),
  rhs_dilation: Sequence[int] = (1, 1),
  dimension_numbers: lax.ConvDimensionNumbers | None = None,
  feature_group_count: int = 1,
  precision: lax.PrecisionLike = None,
) -> Array:
  """Convolves images; a drop-in for `nn.Conv(conv_general_dilated=...)`.

  Args:
    x: [B, H, W, C].
    kernel: [kh, kw, C, D].
    window_strides: per spatial dimension.
    padding: "SAME", "VALID" or (before, after) per spatial dimension.
    lhs_dilation: zeros put between the input's pixels, plus one.
    rhs_dilation: zeros put between the kernel's taps, plus one.
    dimension_numbers: ignored; always NHWC, HWIO, NHWC, as Flax says.
    feature_group_count: G; the kernel is then [kh, kw, C / G, D].
    precision: must be None.

  Returns:
    [B, H', W', D].

  Raises:
    ValueError: an explicit precision was asked for.
  """
  del dimension_numbers
  if precision is not None:
    raise ValueError(
      f"precision={precision} is not supported here; leave "
      "conv_general_dilated out of this nn.Conv."
    )
  strides = tuple(window_strides)
  if isinstance(padding, str):
    padding = lax.padtype_to_pads(
      x.shape[1:3], kernel.shape[:2], strides, padding
    )
  pad = tuple((int(low), int(high)) for low, high in padding)
  window = _Window(strides, pad, tuple(lhs_dilation), tuple(rhs_dilation))
  if feature_group_count != 1:
    return _grouped(x, kernel, window, feature_group_count)
  if kernel.shape[:2] == (1, 1) and pad == ((0, 0), (0, 0)):
    return _pointwise(x, kernel, window)
  return _conv(x, kernel, window)


def _pointwise(x: Array, kernel: Array, window: _Window) -> Array:
  """Convolves with a 1x1 kernel, on a CPU as a product of matrices.

  Its gradients are such products too, and fast there. On a GPU a product that
  reads every second pixel of what others read whole aborts XLA (seen for an
  H100 with jax 0.10.2), so elsewhere a convolution stays one.
  """
  if window.input_dilation != (1, 1):
    return _conv(x, kernel, window)
  return lax.platform_dependent(
    x,
    kernel,
    cpu=functools.partial(_product, window),
    default=functools.partial(_convolve, window=window),
  )


def _product(window: _Window, x: Array, kernel: Array) -> Array:
  x = x[:, :: window.stride[0], :: window.stride[1]]
  return jnp.einsum("bhwi,io->bhwo", x, kernel[0, 0])


def _grouped(x: Array, kernel: Array, window: _Window, groups: int) -> Array:
  """Convolves each group of channels by itself, on a CPU tap by tap."""
  return lax.platform_dependent(
    x,
    kernel,
    cpu=functools.partial(_taps, window, groups),
    default=functools.partial(_convolve, window=window, groups=groups),
  )


def _taps(window: _Window, groups: int, x: Array, kernel: Array) -> Array:
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


def _convolve(
  x: Array, kernel: Array, window: _Window, groups: int = 1
) -> Array:
  return lax.conv_general_dilated(
    x,
    kernel,
    window.stride,
    window.pad,
    lhs_dilation=window.input_dilation,
    rhs_dilation=window.kernel_dilation,
    dimension_numbers=_DIMENSIONS,
    feature_group_count=groups,
  )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv(x: Array, kernel: Array, window: _Window) -> Array:
  return _convolve(x, kernel, window)


def _forward(
  x: Array, kernel: Array, window: _Window
) -> tuple[Array, tuple[Array, Array]]:
  # Not `_convolve`: where this rule is differentiated in its turn, as implicit
  # gradients do, the gradients must be these again.
  return _conv(x, kernel, window), (x, kernel)


def _backward(
  window: _Window, saved: tuple[Array, Array], dy: Array
) -> tuple[Array, Array]:
  return lax.platform_dependent(
    *saved,
    dy,
    cpu=functools.partial(_canonical_gradients, window),
    default=functools.partial(_derived_gradients, window),
  )


def _derived_gradients(
  window: _Window, x: Array, kernel: Array, dy: Array
) -> tuple[Array, Array]:
  return jax.vjp(lambda x, k: _convolve(x, k, window), x, kernel)[1](dy)


def _canonical_gradients(
  window: _Window, x: Array, kernel: Array, dy: Array
) -> tuple[Array, Array]:
  """Returns the gradients by x and kernel as forward convolutions.

  With every array stretched by its dilation, y[o] = sum_t x[s o + t - low] k[t]
  gives dx[i] = sum_t dy[(i + low - t) / s] k[t], a convolution of the dilated
  dy with the flipped kernel, and dk[t] = sum_o x[s o + t - low] dy[o], one of
  x with the dilated dy, channels and batch trading places.
  """
  pad_x, pad_k = [], []
  for i in range(2):
    low = window.pad[i][0]
    n_x = (x.shape[1 + i] - 1) * window.input_dilation[i] + 1
    n_k = (kernel.shape[i] - 1) * window.kernel_dilation[i] + 1
    n_y = (dy.shape[1 + i] - 1) * window.stride[i] + 1
    pad_x.append((n_k - 1 - low, n_x - n_y + low))
    pad_k.append((low, n_k - 1 + n_y - n_x - low))
  by_x = _Window(
    window.input_dilation, tuple(pad_x), window.stride, window.kernel_dilation
  )
  by_kernel = _Window(
    window.kernel_dilation, tuple(pad_k), window.input_dilation, window.stride
  )
  flipped = kernel[::-1, ::-1].swapaxes(2, 3)
  swapped = x.transpose(3, 1, 2, 0), dy.transpose(1, 2, 0, 3)
  dk = _conv(*swapped, by_kernel).transpose(1, 2, 0, 3)
  return _conv(dy, flipped, by_x), dk


_conv.defvjp(_forward, _backward)
