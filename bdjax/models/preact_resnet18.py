"""PreActResNet18, the field's standard victim (11.2 M parameters at width 64).

He et al. 2016 (arXiv:1603.05027) as the backdoor benchmarks define it, which
differs from the paper in two ways: no batch norm or ReLU before the pool, and
no convolution has a bias. A projected shortcut takes relu(bn1(x)), an identity
shortcut takes the raw x. Global mean pool, so any image size will do.

Initialization is PyTorch's default for every layer, as in that code.

Parameter tree, with the PyTorch name where it differs:
  conv1, linear
  layerL_B/{bn1, conv1, bn2, conv2}   layerL.B.*            L = 1..4, B = 0..1
  layerL_0/shortcut                   layerL.0.shortcut.0   L = 2..4
"""

import flax.linen as nn

from bdjax.methods.signature import (
  Channels,
  Count,
  Dtype,
  Index,
  validated,
)
from bdjax.models.parts import layers, resnet
from bdjax.types import Array


class _Block(nn.Module):
  """bn-relu-conv twice, plus the shortcut."""

  channels: int
  stride: int
  dtype: str

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    """Maps [B, h, w, c] to [B, h/stride, w/stride, channels]."""
    kind = {"init": layers.torch_default, "dtype": self.dtype}
    shape = {"channels": self.channels, "stride": self.stride}
    a = nn.relu(layers.batch_norm(train, name="bn1", dtype=self.dtype)(x))
    shortcut = x
    if self.stride != 1 or x.shape[-1] != self.channels:
      shortcut = layers.conv(size=1, name="shortcut", **shape, **kind)(a)
    y = layers.conv(size=3, name="conv1", **shape, **kind)(a)
    y = nn.relu(layers.batch_norm(train, name="bn2", dtype=self.dtype)(y))
    y = layers.conv(self.channels, 3, name="conv2", **kind)(y)
    return y + shortcut


@validated
def make(
  num_classes: Index,
  *,
  width: Count = 64,
  mean: Channels = (0.0, 0.0, 0.0),
  std: Channels = (1.0, 1.0, 1.0),
  dtype: Dtype = "float32",
) -> resnet.ResNet:
  """Builds a PreActResNet18.

  Args:
    num_classes: number of logits; 0 for an encoder, which has no last layer.
    width: channels of the first stage; the last has eight times as many.
    mean: per-channel mean of the training images in [0, 1].
    std: per-channel standard deviation of the same.
    dtype: what convolutions compute in; parameters, batch statistics, pooled
      features and logits stay float32.
  """
  mean, std = layers.check(mean, std)
  return resnet.ResNet(
    num_classes, _Block, (2, 2, 2, 2), width, "bare", mean, std, dtype
  )
