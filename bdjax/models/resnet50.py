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
from bdjax.types import Array, Images, Logits

BLOCKS = (3, 4, 6, 3)
EXPANSION = 4  # channels of a block's output per channel inside it


class _Block(nn.Module):
  """1x1, 3x3 and 1x1 convolutions with norms, plus the shortcut, then relu."""

  channels: int
  stride: int
  dtype: str
  activation: str
  early: bool

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    """Maps [B, h, w, c] to [B, h/stride, w/stride, 4 * channels]."""
    kind = {"init": layers.he_fan_out, "dtype": self.dtype}
    out = EXPANSION * self.channels
    act, y = layers.ACTIVATIONS[self.activation], x
    first, second = (self.stride, 1) if self.early else (1, self.stride)
    for i, (channels, size, stride) in enumerate(
      ((self.channels, 1, first), (self.channels, 3, second), (out, 1, 1)), 1
    ):
      y = act(y) if i > 1 else y
      y = layers.conv(channels, size, stride=stride, name=f"conv{i}", **kind)(y)
      y = layers.batch_norm(train, name=f"bn{i}", dtype=self.dtype)(y)
    if self.stride != 1 or x.shape[-1] != out:
      x = layers.conv(out, 1, stride=self.stride, name="shortcut", **kind)(x)
      x = layers.batch_norm(train, name="shortcut_bn", dtype=self.dtype)(x)
    return act(x + y)


class ResNet50(nn.Module):
  """Four stages of 3, 4, 6 and 3 bottlenecks; see the module's docstring."""

  num_classes: int
  width: int
  stem: str
  strides: str
  activation: str
  early: bool
  mean: tuple[float, ...]
  std: tuple[float, ...]
  dtype: str

  @nn.compact
  def __call__(
    self, x: Images, train: bool = False
  ) -> tuple[Logits, dict[str, Array]]:
    """Returns logits and {layer1..layer4: [B, h, w, c], pooled: [B, c]}."""
    x = layers.normalize(x, self.mean, self.std, self.dtype)
    kind = {"dtype": self.dtype, "activation": self.activation}
    x = resnet.stem(x, train, form=self.stem, width=self.width, **kind)
    kind["early"] = self.early
    features = {}
    for stage, blocks in enumerate(BLOCKS):
      for block in range(blocks):
        stride = int(self.strides[stage]) if block == 0 else 1
        name = f"layer{stage + 1}_{block}"
        channels = self.width * 2**stage
        x = _Block(channels, stride, name=name, **kind)(x, train)
      features[f"layer{stage + 1}"] = x
    features["pooled"] = layers.pool(x)
    return layers.linear(features["pooled"], self.num_classes), features


@validated
def make(
  num_classes: Index,
  *,
  width: Count = 64,
  stem: Annotated[str, Choice(resnet.STEMS)] = "cifar",
  strides: Annotated[str, Choice(resnet.WIDENED)] = "1222",
  activation: Annotated[str, Choice(layers.ACTIVATIONS)] = "relu",
  early: bool = False,
  mean: Channels = (0.0, 0.0, 0.0),
  std: Channels = (1.0, 1.0, 1.0),
  dtype: Dtype = "float32",
) -> ResNet50:
  """Builds a ResNet50.

  Args:
    num_classes: number of logits; 0 for an encoder, which has no last layer.
    width: channels inside the first stage's blocks; the last stage's output has
      32 times as many.
    stem: "cifar" (3x3, stride 1), "imagenet" (7x7, stride 2, max pool), or what
      others make of them, `resnet.STEMS`.
    strides: of the first block of each stage.
    activation: what follows the norms.
    early: whether a block's stride is in its first 1x1 convolution, as in the
      paper.
    mean: per-channel mean of the training images in [0, 1].
    std: per-channel standard deviation of the same.
    dtype: what convolutions compute in; parameters, batch statistics, pooled
      features and logits stay float32.
  """
  mean, std = layers.check(mean, std)
  form = stem, strides, activation, early
  return ResNet50(num_classes, width, *form, mean, std, dtype)
