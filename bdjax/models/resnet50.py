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

import dataclasses

import flax.linen as nn

from bdjax.models.parts import layers, resnet
from bdjax.types import Array

EXPANSION = 4  # channels of a block's output per channel inside it


@dataclasses.dataclass(frozen=True)
class _Form(resnet.SumForm):
  """Where a block strides.

  Attributes:
    early: whether in its first 1x1 convolution, as in the paper.
  """

  early: bool = False


class _Block(nn.Module):
  """1x1, 3x3 and 1x1 convolutions with norms, plus the shortcut, then relu."""

  channels: int
  stride: int
  dtype: str
  activation: str
  early: bool
  last_activation: str

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
    return resnet.block_output(y, x, act, self.last_activation)


make = resnet.maker(
  __name__, _Block, (3, 4, 6, 3), strides=resnet.WIDENED, form=_Form()
)
