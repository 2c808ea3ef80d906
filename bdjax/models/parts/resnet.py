"""What ResNets share: their first layers, for small images or large ones."""

import flax.linen as nn

from bdjax.models.parts import layers
from bdjax.types import Array

STEMS = ("cifar", "imagenet")


def stem(x: Array, train: bool, *, form: str, width: int, dtype: str) -> Array:
  """Applies the layers before the first stage; call it in a compact method.

  Args:
    x: [B, H, W, C], normalized.
    train: whether batch norm uses the batch's statistics.
    form: "cifar" (3x3, stride 1) or "imagenet" (7x7, stride 2, max pool).
    width: channels of the result.
    dtype: what it computes in.
  """
  size, stride = (7, 2) if form == "imagenet" else (3, 1)
  kind = {"init": layers.he_fan_out, "dtype": dtype}
  x = layers.conv(width, size, stride=stride, name="conv1", **kind)(x)
  x = nn.relu(layers.batch_norm(train, name="bn1", dtype=dtype)(x))
  if form == "imagenet":
    x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
  return x
