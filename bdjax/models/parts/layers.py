"""Layers the architectures share: normalization, convolution, batch norm, head.

Padding is explicit, as PyTorch pads: "SAME" would shift a convolution of
stride 2 by one pixel. Batch norm's running variance is the unbiased one, as
PyTorch's; Flax would keep the biased one.
"""

import functools
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from bdjax.models.parts.conv import conv_general_dilated
from bdjax.types import Array, Images, Key, Logits

Init = Callable[..., Array]
Floats = tuple[float, ...]

# What follows a norm; by PyTorch's names and with its constants.
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
  "relu": nn.relu,
  "leaky_relu": nn.leaky_relu,
  "leaky_relu_0.1": functools.partial(nn.leaky_relu, negative_slope=0.1),
  "gelu": functools.partial(nn.gelu, approximate=False),
  "silu": nn.silu,
  "elu": nn.elu,
}
# PyTorch's default for convolutions and linear layers: U(-b, b), b = fan_in^-.5
torch_default: Init = nn.initializers.variance_scaling(
  1 / 3, "fan_in", "uniform"
)
# He et al. 2015 (arXiv:1502.01852), by fan-out, as torchvision's ResNet does.
he_fan_out: Init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def check(mean: Sequence[float], std: Sequence[float]) -> tuple[Floats, Floats]:
  """Returns mean and std as hashable tuples, or says what is wrong.

  Raises:
    ValueError: lengths differ, or a std is not positive.
  """
  if len(mean) != len(std):
    raise ValueError(
      f"mean {mean} and std {std} must have one number per channel each."
    )
  if min(std) <= 0:
    raise ValueError(f"std {std} must be positive; use 1.0 for no scaling.")
  return tuple(map(float, mean)), tuple(map(float, std))


def normalize(x: Images, mean: Floats, std: Floats, dtype: str) -> Array:
  """Returns (x - mean) / std per channel, computed in float32, in `dtype`.

  Raises:
    ValueError: the image has another number of channels than `mean`.
  """
  if x.shape[-1] != len(mean):
    raise ValueError(
      f"The images have {x.shape[-1]} channels but mean {mean} has "
      f"{len(mean)}; give the model mean= and std= with one number a channel."
    )
  shift = jnp.asarray(mean, jnp.float32).reshape(1, 1, 1, -1)
  scale = jnp.asarray(std, jnp.float32).reshape(1, 1, 1, -1)
  return ((x - shift) / scale).astype(dtype)


def conv(
  channels: int,
  size: int,
  *,
  name: str,
  init: Init,
  dtype: str,
  stride: int = 1,
  groups: int = 1,
  padding: int | None = None,
  bias: bool = False,
) -> nn.Conv:
  """Returns a size x size convolution.

  Args:
    init: of its kernel; a bias starts from zero.
    groups: of channels, each convolved by itself; as many as the input has
      channels make it depthwise.
    padding: pixels of zeros around the input; None for size // 2.
    bias: whether it has one, which a batch norm after it makes redundant.
  """
  pad = (size // 2 if padding is None else padding,) * 2
  return nn.Conv(
    channels,
    (size, size),
    strides=(stride, stride),
    padding=(pad, pad),
    feature_group_count=groups,
    use_bias=bias,
    kernel_init=_traced_once(init),
    dtype=dtype,
    conv_general_dilated=conv_general_dilated,
    name=name,
  )


@functools.cache
def _traced_once(init: Init) -> Init:
  """Returns an initializer that Python goes through once for each shape.

  Flax asks one for its shape whenever a layer is applied.
  """
  return jax.jit(init, static_argnums=(1, 2), inline=True)


class BatchNorm(nn.BatchNorm):
  """Flax's batch norm with PyTorch's running variance.

  A batch is normalized by its biased variance; the running one takes in n /
  (n - 1) times that, n = B H W being the batch's values per channel.
  """

  def __call__(self, x: Array) -> Array:
    """Returns x [B, ..., C], normalized.

    A single value per channel has no unbiased variance: it counts as biased.
    """
    before = self.get_variable("batch_stats", "var")
    y = super().__call__(x)
    if before is not None and not self.use_running_average:
      var = self.get_variable("batch_stats", "var")
      taken = var - self.momentum * before
      others = max(x.size // x.shape[-1] - 1, 1)
      self.put_variable("batch_stats", "var", var + taken / others)
    return y


def batch_norm(
  train: bool,
  *,
  name: str,
  dtype: str,
  momentum: float = 0.9,
  epsilon: float = 1e-5,
) -> BatchNorm:
  """Returns batch norm with the field's constants; statistics in float32.

  The variance is E[x^2] - E[x]^2, in one pass over x as on accelerators; of a
  channel whose mean is a hundred times its deviation and more it has few right
  digits.

  Args:
    train: whether the batch's own statistics are used, and taken in.
    momentum: how much of the running statistics a step keeps.
    epsilon: added to the variance.
  """
  return BatchNorm(
    use_running_average=not train,
    momentum=momentum,
    epsilon=epsilon,
    dtype=dtype,
    name=name,
  )


def layer_norm(name: str, dtype: str) -> nn.LayerNorm:
  """Returns layer norm over the last axis, with torchvision's constant."""
  return nn.LayerNorm(
    epsilon=1e-6, dtype=dtype, use_fast_variance=False, name=name
  )


def dropped(
  module: nn.Module, x: Array, rate: float, train: bool, *, whole: bool = False
) -> Array:
  """Returns x with a share of its numbers set to zero, the others scaled up.

  In training, and where a key is given for it; else x itself.

  Args:
    module: that calls this, in its compact method.
    x: [B, ...].
    rate: the share.
    whole: whether images are dropped, each with all of its numbers: in a block
      that is added to its input, stochastic depth (arXiv:1603.09382).
  """
  still = not (train and module.has_rng("dropout"))
  axes = tuple(range(1, x.ndim)) if whole else ()
  return nn.Dropout(rate, broadcast_dims=axes, deterministic=still)(x)


def convolved(
  x: Array,
  channels: int,
  train: bool,
  *,
  name: str,
  norm: str,
  stride: int = 1,
  dtype: str,
) -> Array:
  """Returns what a layer of a small network makes of its input.

  A 3x3 convolution with PyTorch's default initialization, batch norm and ReLU,
  within the module that calls it.

  Args:
    x: [B, h, w, c].
    train: whether batch statistics are used and kept.
  """
  kind = {"init": torch_default, "dtype": dtype}
  x = conv(channels, 3, stride=stride, name=name, **kind)(x)
  return nn.relu(batch_norm(train, name=norm, dtype=dtype)(x))


def pool(x: Array) -> Array:
  """Returns the mean over space, [B, H, W, C] -> [B, C] float32."""
  return jnp.mean(x, axis=(1, 2), dtype=jnp.float32)


def linear(
  x: Array,
  num_classes: int,
  *,
  name: str = "linear",
  init: Init | None = None,
) -> Logits:
  """Applies the classifier's last layer to [B, C], in float32.

  Called inside a module's compact method, whose parameters it becomes. Without
  classes there is no such layer: an encoder's features are its logits.

  Args:
    init: of its weights, with a bias of zero; None draws both as PyTorch does,
      from U(-b, b) with b = C^-0.5.
  """
  if not num_classes:
    return x
  bound = x.shape[-1] ** -0.5

  def bias_init(key: Key, shape: tuple[int, ...], dtype: object) -> Array:
    return jax.random.uniform(key, shape, dtype, -bound, bound)

  return nn.Dense(
    num_classes,
    kernel_init=_traced_once(init or torch_default),
    bias_init=nn.initializers.zeros if init else bias_init,
    name=name,
  )(x)
