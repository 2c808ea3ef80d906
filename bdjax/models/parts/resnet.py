"""What ResNets share: their first layers and how far each stage strides.

None of it shows in the weights but the size of the first kernel, so that models
of others may have any of these forms.
"""

from typing import NamedTuple

import flax.linen as nn

from bdjax.models.parts import layers
from bdjax.types import Array


class Stem(NamedTuple):
  """The first convolution's size and stride, and whether a max pool follows."""

  size: int
  stride: int
  pool: bool


STEMS = {
  "cifar": Stem(3, 1, False),
  "cifar_pool": Stem(3, 1, True),
  "cifar_stride": Stem(3, 2, False),
  "cifar_stride_pool": Stem(3, 2, True),
  "imagenet": Stem(7, 2, True),
  "imagenet_unpooled": Stem(7, 2, False),
  "imagenet_dense": Stem(7, 1, False),
  "imagenet_dense_pool": Stem(7, 1, True),
}
SMALL = tuple(name for name, stem in STEMS.items() if stem.size == 3)
# Of the four stages. Where the first stage widens, it may stride as well.
STRIDES = ("1222", "1221", "1212", "1211", "1122", "1112", "1111")
WIDENED = (*STRIDES, "2222", "2221")


def stem(
  x: Array,
  train: bool,
  *,
  form: str,
  width: int,
  dtype: str,
  activation: str = "relu",
) -> Array:
  """Applies the layers before the first stage; call it in a compact method.

  Args:
    x: [B, H, W, C], normalized.
    train: whether batch norm uses the batch's statistics.
    form: a name in STEMS.
    width: channels of the result.
    dtype: what it computes in.
    activation: a name in `layers.ACTIVATIONS`.
  """
  size, stride, _ = STEMS[form]
  kind = {"init": layers.he_fan_out, "dtype": dtype}
  x = layers.conv(width, size, stride=stride, name="conv1", **kind)(x)
  x = layers.batch_norm(train, name="bn1", dtype=dtype)(x)
  return pooled(layers.ACTIVATIONS[activation](x), form)


def pooled(x: Array, form: str) -> Array:
  """Returns [B, H, W, C] after the max pool of a stem, if it has one."""
  if not STEMS[form].pool:
    return x
  return nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
