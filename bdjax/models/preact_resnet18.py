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


class _Block(nn.Module):
  """bn-relu-conv twice, plus the shortcut."""

  channels: int
  stride: int
  dtype: str
  activation: str
  shortcut: str

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    """Maps [B, h, w, c] to [B, h/stride, w/stride, channels]."""
    kind = {"init": layers.torch_default, "dtype": self.dtype}
    shape = {"channels": self.channels, "stride": self.stride}
    act = layers.ACTIVATIONS[self.activation]
    a = act(layers.batch_norm(train, name="bn1", dtype=self.dtype)(x))
    shortcut = x
    if self.stride != 1 or x.shape[-1] != self.channels:
      source = a if self.shortcut == "activated" else x
      shortcut = layers.conv(size=1, name="shortcut", **shape, **kind)(source)
    y = layers.conv(size=3, name="conv1", **shape, **kind)(a)
    y = act(layers.batch_norm(train, name="bn2", dtype=self.dtype)(y))
    y = layers.conv(self.channels, 3, name="conv2", **kind)(y)
    return y + shortcut


class PreActResNet18(nn.Module):
  """Four stages of two pre-activation blocks; see the module's docstring."""

  num_classes: int
  width: int
  stem: str
  strides: str
  activation: str
  shortcut: str
  mean: tuple[float, ...]
  std: tuple[float, ...]
  dtype: str

  @nn.compact
  def __call__(
    self, x: Images, train: bool = False
  ) -> tuple[Logits, dict[str, Array]]:
    """Returns logits and {layer1..layer4: [B, h, w, c], pooled: [B, c]}."""
    x = layers.normalize(x, self.mean, self.std, self.dtype)
    kind = {"init": layers.torch_default, "dtype": self.dtype}
    first = resnet.STEMS[self.stem].stride
    x = layers.conv(self.width, 3, stride=first, name="conv1", **kind)(x)
    x, features = resnet.pooled(x, self.stem), {}
    form = self.dtype, self.activation, self.shortcut
    for stage in range(4):
      for block in range(2):
        stride = int(self.strides[stage]) if block == 0 else 1
        name = f"layer{stage + 1}_{block}"
        channels = self.width * 2**stage
        x = _Block(channels, stride, *form, name=name)(x, train)
      features[f"layer{stage + 1}"] = x
    features["pooled"] = layers.pool(x)
    return layers.linear(features["pooled"], self.num_classes), features


@validated
def make(
  num_classes: Index,
  *,
  width: Count = 64,
  stem: Annotated[str, Choice(resnet.SMALL)] = "cifar",
  strides: Annotated[str, Choice(resnet.STRIDES)] = "1222",
  activation: Annotated[str, Choice(layers.ACTIVATIONS)] = "relu",
  shortcut: Annotated[str, Choice(("activated", "raw"))] = "activated",
  mean: Channels = (0.0, 0.0, 0.0),
  std: Channels = (1.0, 1.0, 1.0),
  dtype: Dtype = "float32",
) -> PreActResNet18:
  """Builds a PreActResNet18.

  Args:
    num_classes: number of logits; 0 for an encoder, which has no last layer.
    width: channels of the first stage; the last has eight times as many.
    stem: "cifar" (3x3, stride 1), or what others make of it, `resnet.STEMS`.
    strides: of the first block of each stage.
    activation: what follows the norms.
    shortcut: what a projected shortcut takes: x "activated", or "raw".
    mean: per-channel mean of the training images in [0, 1].
    std: per-channel standard deviation of the same.
    dtype: what convolutions compute in; parameters, batch statistics, pooled
      features and logits stay float32.
  """
  mean, std = layers.check(mean, std)
  form = stem, strides, activation, shortcut
  return PreActResNet18(num_classes, width, *form, mean, std, dtype)
