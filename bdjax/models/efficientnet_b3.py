"""EfficientNet-B3: inverted residual blocks with squeeze-and-excitation.

Tan and Le 2019 (arXiv:1905.11946), laid out and initialized as in torchvision:
12,233,232 parameters with 1000 classes. In training, where a key is given for
it, blocks are left out at random (arXiv:1603.09382), the last of 26 in nearly a
fifth of the images, and pooled features are dropped. Images of any size are
halved five times, as BackdoorBench does with 32 x 32.

The features layer1..layer7 follow the stages; the last layer reads the pooled
output of a convolution, with dropout.

Parameter tree, with torchvision's name where it differs:
  conv1, conv1_bn     features.0.0, features.0.1
  layerL_B/*          features.L.B.block.*   see `parts.inverted`
  conv2, conv2_bn     features.8.0, features.8.1
  linear              classifier.1
"""

from typing import Annotated

import flax.linen as nn

from bdjax.methods.signature import (
  Channels,
  Count,
  Dtype,
  Index,
  Range,
  validated,
)
from bdjax.models.parts import base, inverted, layers
from bdjax.models.parts.inverted import Plan
from bdjax.types import Array, Images, Logits

WIDTH = 40  # torchvision's, by which the numbers below are meant
LAST = 1536
_INIT = nn.initializers.variance_scaling(1 / 3, "fan_out", "uniform")


def _stage(
  before: int,
  after: int,
  blocks: int,
  *,
  size: int,
  stride: int,
  wider: int = 6,
) -> tuple[Plan, ...]:
  """Returns the blocks of a stage.

  Args:
    before: channels of its input.
    after: channels of its output.
    blocks: how many.
    size: of their kernels.
    stride: of the first.
    wider: how much wider they are inside.
  """
  inputs = [(before, stride), *[(after, 1)] * (blocks - 1)]
  return tuple(
    Plan(size, n, wider * n, after, n // 4, nn.silu, step) for n, step in inputs
  )


STAGES = (
  _stage(40, 24, 2, size=3, stride=1, wider=1),
  _stage(24, 32, 3, size=3, stride=2),
  _stage(32, 48, 3, size=5, stride=2),
  _stage(48, 96, 5, size=3, stride=2),
  _stage(96, 136, 5, size=5, stride=1),
  _stage(136, 232, 6, size=5, stride=2),
  _stage(232, 384, 2, size=3, stride=1),
)


class EfficientNet(base.Network):
  """Seven stages between two convolutions; see the module's docstring."""

  num_classes: int
  width: int
  dropout: float
  drop_path: float
  mean: tuple[float, ...]
  std: tuple[float, ...]
  dtype: str
  plans: inverted.Stages = STAGES

  @nn.compact
  def __call__(
    self, x: Images, train: bool = False
  ) -> tuple[Logits, dict[str, Array]]:
    """Returns logits and {layer1..layer7: [B, h, w, c], pooled: [B, c]}."""
    form = inverted.Form(nn.silu, nn.sigmoid, 0.9, 1e-5, self.dtype)
    x = layers.normalize(x, self.mean, self.std, self.dtype)
    first = {"channels": self.width, "size": 3, "stride": 2}
    x = nn.silu(inverted.convolved(x, train, form, name="conv1", **first))
    scale = (self.width, WIDTH)
    how = {"scale": scale, "drop": self.drop_path}
    features = inverted.staged(x, train, form, self.plans, **how)
    x = features[f"layer{len(self.plans)}"]
    last = inverted.scaled(LAST, *scale)
    x = inverted.convolved(x, train, form, name="conv2", channels=last)
    x = layers.pool(nn.silu(x))
    features["pooled"] = layers.dropped(self, x, self.dropout, train)
    return layers.linear(
      features["pooled"], self.num_classes, init=_INIT
    ), features


@validated
def make(
  num_classes: Index,
  *,
  width: Count = WIDTH,
  dropout: Annotated[float, Range(0.0, 1.0)] = 0.3,
  drop_path: Annotated[float, Range(0.0, 1.0)] = 0.2,
  mean: Channels = (0.0, 0.0, 0.0),
  std: Channels = (1.0, 1.0, 1.0),
  dtype: Dtype = "float32",
) -> EfficientNet:
  """Builds an EfficientNet-B3.

  Args:
    num_classes: number of logits; 0 for an encoder, which has no last layer.
    width: channels of the first convolution, by which all others scale.
    dropout: share of the pooled features that is dropped in training.
    drop_path: how often a block after the last would be left out in training;
      from 0 it rises evenly from block to block.
    mean: per-channel mean of the training images in [0, 1].
    std: per-channel standard deviation of the same.
    dtype: what convolutions compute in; parameters, batch statistics, pooled
      features and logits stay float32.
  """
  levels = layers.check(mean, std)
  return EfficientNet(num_classes, width, dropout, drop_path, *levels, dtype)
