"""A 2-D convolution whose gradients stay fast on a CPU inside a loop.

XLA's CPU compiler hands a convolution to its vectorized kernels only when the
dimension numbers are canonical (NHWC, HWIO, NHWC). The pass that makes them so
was seen to act on a program's entry computation only, so the gradient
convolutions of a `lax.scan` body were emitted as naive loops. One 3x3 layer
with 32 channels, in ms alone / in a scan (2 cores, jax 0.10.2): kernel gradient
7.7 / 497, input gradient 2.7 / 103; written as here 7.7 / 8.2 and 2.7 / 2.6.

So the two gradients are spelled out as canonical convolutions of transposed
arrays, on CPU only; elsewhere they are the ones JAX derives. What counts is the
platform that a program is compiled for, not the one that traces it. The
convolution and its two gradients are linear in two arguments each, whose
derivatives are the other two: so gradients of gradients slide no image over
another. Forward-mode differentiation does not work (`jax.jvp`): use reverse
over reverse.

Convolutions in groups have no such spelling: see `taps`.
"""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from contextvars import ContextVar

import jax
import jax.numpy as jnp
from jax import lax

from bdjax.models.parts import taps
from bdjax.models.parts.taps import Pair, Window
from bdjax.types import Array

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")

_plain = ContextVar("plain convolutions", default=False)


@contextlib.contextmanager
def plainly() -> Iterator[None]:
  """Leaves convolutions as JAX has them, where only their shapes count.

  Python goes through one in a moment, and through one tap by tap in many: for
  all of EfficientNet-B3 in 2.7 s and 13 (of a busy core).
  """
  before = _plain.set(True)
  try:
    yield
  finally:
    _plain.reset(before)


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
  window = Window(strides, pad, tuple(lhs_dilation), tuple(rhs_dilation))
  if _plain.get():
    return _convolve(x, kernel, window, feature_group_count)
  if feature_group_count != 1:
    return _grouped(x, kernel, window, feature_group_count)
  if kernel.shape[:2] == (1, 1) and pad == ((0, 0), (0, 0)):
    return _pointwise(x, kernel, window)
  return _conv(x, kernel, window)


def _pointwise(x: Array, kernel: Array, window: Window) -> Array:
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


def _product(window: Window, x: Array, kernel: Array) -> Array:
  x = x[:, :: window.stride[0], :: window.stride[1]]
  return jnp.einsum("bhwi,io->bhwo", x, kernel[0, 0])


def _grouped(x: Array, kernel: Array, window: Window, groups: int) -> Array:
  """Convolves each group of channels by itself, on a CPU tap by tap."""
  return lax.platform_dependent(
    x,
    kernel,
    cpu=functools.partial(taps.summed, window, groups),
    default=functools.partial(_convolve, window=window, groups=groups),
  )


def _convolve(
  x: Array, kernel: Array, window: Window, groups: int = 1
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
def _conv(x: Array, kernel: Array, window: Window) -> Array:
  return _convolve(x, kernel, window)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _by_x(dy: Array, kernel: Array, window: Window, size: Pair) -> Array:
  """Returns the gradient by images of a size, from that by the output."""
  return lax.platform_dependent(
    dy,
    kernel,
    cpu=functools.partial(_canonical_by_x, window, size),
    default=functools.partial(_derived_by_x, window, size),
  )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _by_kernel(x: Array, dy: Array, window: Window, size: Pair) -> Array:
  """Returns the gradient by a kernel of a size, from that by the output."""
  return lax.platform_dependent(
    x,
    dy,
    cpu=functools.partial(_canonical_by_kernel, window, size),
    default=functools.partial(_derived_by_kernel, window, size),
  )


@functools.partial(jax.jit, static_argnums=0, inline=True)
def _gradients(window, saved, dy):  # traced once for all layers that are alike
  x, kernel = saved
  dx = _by_x(dy, kernel, window, x.shape[1:3])
  return dx, _by_kernel(x, dy, window, kernel.shape[:2])


def _gradients_by_x(window, size, saved, dx):
  dy, kernel = saved
  dk = _by_kernel(dx, dy, window, kernel.shape[:2])
  return _conv(dx, kernel, window), dk


def _gradients_by_kernel(window, size, saved, dk):
  x, dy = saved
  dx = _by_x(dy, dk, window, x.shape[1:3])
  return dx, _conv(x, dk, window)


# The rules call what they are rules of: where one is differentiated in its
# turn, as implicit gradients do, the gradients must be these again.
_conv.defvjp(lambda x, k, *how: (_conv(x, k, *how), (x, k)), _gradients)
_by_x.defvjp(lambda dy, k, *how: (_by_x(dy, k, *how), (dy, k)), _gradients_by_x)
_by_kernel.defvjp(
  lambda x, dy, *how: (_by_kernel(x, dy, *how), (x, dy)), _gradients_by_kernel
)


def _derived_by_x(
  window: Window, size: Pair, dy: Array, kernel: Array
) -> Array:
  x = jnp.zeros((dy.shape[0], *size, kernel.shape[2]), dy.dtype)
  return jax.vjp(lambda x: _convolve(x, kernel, window), x)[1](dy)[0]


def _derived_by_kernel(
  window: Window, size: Pair, x: Array, dy: Array
) -> Array:
  kernel = jnp.zeros((*size, x.shape[3], dy.shape[3]), x.dtype)
  return jax.vjp(lambda k: _convolve(x, k, window), kernel)[1](dy)[0]


def _canonical_by_x(
  window: Window, size: Pair, dy: Array, kernel: Array
) -> Array:
  """Returns the gradient by x as a forward convolution.

  With every array stretched by its dilation, y[o] = sum_t x[s o + t - low] k[t]
  gives dx[i] = sum_t dy[(i + low - t) / s] k[t], a convolution of the dilated
  dy with the flipped kernel.
  """
  pad = []
  for i in range(2):
    n_x, n_k, n_y = _stretched(window, i, size, kernel.shape, dy.shape[1:])
    low = window.pad[i][0]
    pad.append((n_k - 1 - low, n_x - n_y + low))
  there = Window(
    window.input_dilation, tuple(pad), window.stride, window.kernel_dilation
  )
  return _convolve(dy, kernel[::-1, ::-1].swapaxes(2, 3), there)


def _canonical_by_kernel(
  window: Window, size: Pair, x: Array, dy: Array
) -> Array:
  """Returns the gradient by the kernel as a forward convolution.

  As above, dk[t] = sum_o x[s o + t - low] dy[o] is one of x with the dilated
  dy, channels and batch trading places.
  """
  pad = []
  for i in range(2):
    n_x, n_k, n_y = _stretched(window, i, x.shape[1:], size, dy.shape[1:])
    low = window.pad[i][0]
    pad.append((low, n_k - 1 + n_y - n_x - low))
  there = Window(
    window.kernel_dilation, tuple(pad), window.input_dilation, window.stride
  )
  swapped = x.transpose(3, 1, 2, 0), dy.transpose(1, 2, 0, 3)
  return _convolve(*swapped, there).transpose(1, 2, 0, 3)


def _stretched(window: Window, i: int, *sizes: Sequence[int]) -> list[int]:
  """Returns the extents of x, kernel and y along a dimension, dilated."""
  dilations = window.input_dilation, window.kernel_dilation, window.stride
  pairs = zip(sizes, dilations, strict=True)
  return [(size[i] - 1) * dilation[i] + 1 for size, dilation in pairs]
