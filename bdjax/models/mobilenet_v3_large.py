"""MobileNetV3-Large: inverted residual blocks, half of them with excitation.

Howard et al. 2019 (arXiv:1905.02244), laid out and initialized as in
torchvision: 5,483,032 parameters with 1000 classes. Batch norm keeps .99 of its
statistics at a step and adds .001 to the variance, as there. Images of any size
are halved five times, as BackdoorBench does with 32 x 32.

The features layer1..layer6 follow the last block of as many channels; a hidden
layer, with dropout where a key is given for it, is what the last layer reads.

Parameter tree, with torchvision's name where it differs (N counts the blocks):
  conv1, conv1_bn     features.0.0, features.0.1
  layerL_B/*          features.N.block.*   see `parts.inverted`
  conv2, conv2_bn     features.16.0, features.16.1
  linear1, linear     classifier.0, classifier.3
"""

from typing import Annotated

import flax.linen as nn
import jax.numpy as jnp

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

WIDTH = 16  # torchvision's, by which the numbers below are meant
LAST = 960
_RELU, _SWISH = nn.relu, nn.hard_swish
STAGES = (
  (Plan(3, 16, 16, 16, 0, _RELU, 1),),
  (Plan(3, 16, 64, 24, 0, _RELU, 2), Plan(3, 24, 72, 24, 0, _RELU, 1)),
  (
    Plan(5, 24, 72, 40, 24, _RELU, 2),
    Plan(5, 40, 120, 40, 32, _RELU, 1),
    Plan(5, 40, 120, 40, 32, _RELU, 1),
  ),
  (
    Plan(3, 40, 240, 80, 0, _SWISH, 2),
    Plan(3, 80, 200, 80, 0, _SWISH, 1),
    Plan(3, 80, 184, 80, 0, _SWISH, 1),
    Plan(3, 80, 184, 80, 0, _SWISH, 1),
  ),
  (
    Plan(3, 80, 480, 112, 120, _SWISH, 1),
    Plan(3, 112, 672, 112, 168, _SWISH, 1),
  ),
  (
    Plan(5, 112, 672, 160, 168, _SWISH, 2),
    Plan(5, 160, 960, 160, 240, _SWISH, 1),
    Plan(5, 160, 960, 160, 240, _SWISH, 1),
  ),
)
_INIT = nn.initializers.normal(0.01)  # torchvision's, for linear layers


class MobileNetV3(base.Network):
  """Blocks between two convolutions, a hidden layer and a linear one."""

  num_classes: int
  width: int
  hidden: int
  dropout: float
  mean: tuple[float, ...]
  std: tuple[float, ...]
  dtype: str
  plans: inverted.Stages = STAGES

  @nn.compact
  def __call__(
    self, x: Images, train: bool = False
  ) -> tuple[Logits, dict[str, Array]]:
    """Returns logits and {layer1..layer6: [B, h, w, c], pooled: [B, c]}."""
    form = inverted.Form(nn.relu, nn.hard_sigmoid, 0.99, 1e-3, self.dtype)
    x = layers.normalize(x, self.mean, self.std, self.dtype)
    first = {"channels": self.width, "size": 3, "stride": 2}
    x = inverted.convolved(x, train, form, name="conv1", **first)
    scale = (self.width, WIDTH)
    features = inverted.staged(
      nn.hard_swish(x), train, form, self.plans, scale=scale
    )
    x = features[f"layer{len(self.plans)}"]
    last = inverted.scaled(LAST, *scale)
    x = inverted.convolved(x, train, form, name="conv2", channels=last)
    x = layers.pool(nn.hard_swish(x))
    kind = {"kernel_init": _INIT, "dtype": self.dtype}
    x = nn.hard_swish(nn.Dense(self.hidden, name="linear1", **kind)(x))
    x = layers.dropped(self, x, self.dropout, train)
    features["pooled"] = x.astype(jnp.float32)
    return layers.linear(
      features["pooled"], self.num_classes, init=_INIT
    ), features


@validated
def make(
  num_classes: Index,
  *,
  width: Count = WIDTH,
  hidden: Count = 1280,
  dropout: Annotated[float, Range(0.0, 1.0)] = 0.2,
  mean: Channels = (0.0, 0.0, 0.0),
  std: Channels = (1.0, 1.0, 1.0),
  dtype: Dtype = "float32",
) -> MobileNetV3:
  """Builds a MobileNetV3-Large.

  Args:
    num_classes: number of logits; 0 for an encoder, which has no last layer.
    width: channels of the first convolution, by which the blocks' scale.
    hidden: channels of the hidden layer.
    dropout: share of them that is dropped in training.
    mean: per-channel mean of the training images in [0, 1].
    std: per-channel standard deviation of the same.
    dtype: what the layers compute in; parameters, batch statistics, pooled
      features and logits stay float32.
  """
  mean, std = layers.check(mean, std)
  return MobileNetV3(num_classes, width, hidden, dropout, mean, std, dtype)
