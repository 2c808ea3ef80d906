"""A three-layer CNN for tests and the quickstart: minutes on a CPU.

Three times conv3x3, batch norm, ReLU with width, 2 * width and 4 * width
channels, stride 2 from the second on; global mean pool; linear. Initialization
is PyTorch's default.

Parameter tree: conv1..conv3, bn1..bn3, linear.
"""

import flax.linen as nn

from bdjax.methods.signature import Channels, Count, Dtype, Index, validated
from bdjax.models.parts import base, layers
from bdjax.types import Array, Images, Logits


class CNN(base.Network):
  """Three strided convolutions and a linear layer."""

  num_classes: int
  width: int
  mean: tuple[float, ...]
  std: tuple[float, ...]
  dtype: str

  @nn.compact
  def __call__(
    self, x: Images, train: bool = False
  ) -> tuple[Logits, dict[str, Array]]:
    """Returns logits and {layer1..layer3: [B, h, w, c], pooled: [B, c]}."""
    x = layers.normalize(x, self.mean, self.std, self.dtype)
    features = {}
    for i in range(1, 4):
      x = features[f"layer{i}"] = layers.convolved(
        x,
        self.width * 2 ** (i - 1),
        train,
        name=f"conv{i}",
        norm=f"bn{i}",
        stride=1 if i == 1 else 2,
        dtype=self.dtype,
      )
    features["pooled"] = layers.pool(x)
    return layers.linear(features["pooled"], self.num_classes), features


@validated
def make(
  num_classes: Index,
  *,
  width: Count = 32,
  mean: Channels = (0.0, 0.0, 0.0),
  std: Channels = (1.0, 1.0, 1.0),
  dtype: Dtype = "float32",
) -> CNN:
  """Builds the small CNN.

  Args:
    num_classes: number of logits; 0 for an encoder, which has no last layer.
    width: channels of the first layer; the last has four times as many.
    mean: per-channel mean of the training images in [0, 1].
    std: per-channel standard deviation of the same.
    dtype: what convolutions compute in; parameters, batch statistics, pooled
      features and logits stay float32.
  """
  mean, std = layers.check(mean, std)
  return CNN(num_classes, width, mean, std, dtype)
