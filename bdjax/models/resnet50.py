"""ResNet50 (bottleneck blocks), with a CIFAR or an ImageNet stem.

He et al. 2015 (arXiv:1512.03385), laid out as in torchvision, where a block's
stride lies in its 3x3 convolution ("v1.5"), not in the first 1x1 as in the
paper: 25,557,032 parameters with the ImageNet stem and 1000 classes, 23,520,842
with the CIFAR stem (3x3, stride 1, no max pool) and 10. Global mean pool, so
any image size will do. Initialization is that of `resnet18`.

Parameter tree, with torchvision's name where it differs:
  conv1, bn1
  linear                              fc
  layerL_B/{convK, bnK}               layerL.B.*             L = 1..4, K = 1..3
  layerL_0/shortcut                   layerL.0.downsample.0
  layerL_0/shortcut_bn                layerL.0.downsample.1
with B = 0..2, 0..3, 0..5 and 0..2 in the four stages.
"""

from typing import Annotated

import flax.linen as nn

from bdjax.methods.signature import (
  Channels,
  Choice,
  Count,
  Dtype,
  Index,
  validated,
)
from bdjax.models.parts import layers, resnet
from bdjax.types import Array

BLOCKS = (3, 4, 6, 3)
EXPANSION = 4  # channels of a block's output per channel inside it


class _Block(nn.Module):
  """1x1, 3x3 and 1x1 convolutions with norms, plus the shortcut, then relu."""

  channels: int
  stride: int
  dtype: str

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    """Maps [B, h, w, c] to [B, h/stride, w/stride, 4 * channels]."""
    kind = {"init": layers.he_fan_out, "dtype": self.dtype}
    out = EXPANSION * self.channels
    y = x
    for i, (channels, size, stride) in enumerate(
      ((self.channels, 1, 1), (self.channels, 3, self.stride), (out, 1, 1)), 1
    ):
      y = nn.relu(y) if i > 1 else y
      y = layers.conv(channels, size, stride=stride, name=f"conv{i}", **kind)(y)
      y = layers.batch_norm(train, name=f"bn{i}", dtype=self.dtype)(y)
    if self.stride != 1 or x.shape[-1] != out:
      x = layers.conv(out, 1, stride=self.stride, name="shortcut", **kind)(x)
      x = layers.batch_norm(train, name="shortcut_bn", dtype=self.dtype)(x)
    return nn.relu(x + y)


@validated
def make(
  num_classes: Index,
  *,
  width: Count = 64,
  stem: Annotated[str, Choice(resnet.STEMS)] = "cifar",
  mean: Channels = (0.0, 0.0, 0.0),
  std: Channels = (1.0, 1.0, 1.0),
  dtype: Dtype = "float32",
) -> resnet.ResNet:
  """Builds a ResNet50.

  Args:
    num_classes: number of logits; 0 for an encoder, which has no last layer.
    width: channels inside the first stage's blocks; the last stage's output has
      32 times as many.
    stem: "cifar" (3x3, stride 1) or "imagenet" (7x7, stride 2, max pool).
    mean: per-channel mean of the training images in [0, 1].
    std: per-channel standard deviation of the same.
    dtype: what convolutions compute in; parameters, batch statistics, pooled
      features and logits stay float32.
  """
  mean, std = layers.check(mean, std)
  return resnet.ResNet(
    num_classes, _Block, BLOCKS, width, stem, mean, std, dtype
  )
