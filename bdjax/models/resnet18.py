"""ResNet18 (post-activation), with a CIFAR or an ImageNet stem.

He et al. 2015 (arXiv:1512.03385), laid out as in torchvision: 11,689,512
parameters with the ImageNet stem and 1000 classes, 11,173,962 with the CIFAR
stem (3x3, stride 1, no max pool) and 10. Global mean pool, so any image size
will do. Convolutions start from He et al.'s normal by fan-out, as in
torchvision; the linear layer from PyTorch's default.

Parameter tree, with torchvision's name where it differs:
  conv1, bn1
  linear                              fc
  layerL_B/{conv1, bn1, conv2, bn2}   layerL.B.*             L = 1..4, B = 0..1
  layerL_0/shortcut                   layerL.0.downsample.0  L = 2..4
  layerL_0/shortcut_bn                layerL.0.downsample.1  L = 2..4
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
  """conv-bn-relu-conv-bn, plus the shortcut, then relu."""

  channels: int
  stride: int
  dtype: str
  activation: str

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    """Maps [B, h, w, c] to [B, h/stride, w/stride, channels]."""
    kind = {"init": layers.he_fan_out, "dtype": self.dtype}
    shape = {"channels": self.channels, "stride": self.stride}
    act = layers.ACTIVATIONS[self.activation]
    y = layers.conv(size=3, name="conv1", **shape, **kind)(x)
    y = act(layers.batch_norm(train, name="bn1", dtype=self.dtype)(y))
    y = layers.conv(self.channels, 3, name="conv2", **kind)(y)
    y = layers.batch_norm(train, name="bn2", dtype=self.dtype)(y)
    if self.stride != 1 or x.shape[-1] != self.channels:
      x = layers.conv(size=1, name="shortcut", **shape, **kind)(x)
      x = layers.batch_norm(train, name="shortcut_bn", dtype=self.dtype)(x)
    return act(x + y)


class ResNet18(nn.Module):
  """Four stages of two residual blocks; see the module's docstring."""

  num_classes: int
  width: int
  stem: str
  strides: str
  activation: str
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
    features = {}
    for stage in range(4):
      for block in range(2):
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
  strides: Annotated[str, Choice(resnet.STRIDES)] = "1222",
  activation: Annotated[str, Choice(layers.ACTIVATIONS)] = "relu",
  mean: Channels = (0.0, 0.0, 0.0),
  std: Channels = (1.0, 1.0, 1.0),
  dtype: Dtype = "float32",
) -> ResNet18:
  """Builds a ResNet18.

  Args:
    num_classes: number of logits; 0 for an encoder, which has no last layer.
    width: channels of the first stage; the last has eight times as many.
    stem: "cifar" (3x3, stride 1), "imagenet" (7x7, stride 2, max pool), or what
      others make of them, `resnet.STEMS`.
    strides: of the first block of each stage.
    activation: what follows the norms.
    mean: per-channel mean of the training images in [0, 1].
    std: per-channel standard deviation of the same.
    dtype: what convolutions compute in; parameters, batch statistics, pooled
      features and logits stay float32.
  """
  mean, std = layers.check(mean, std)
  form = stem, strides, activation
  return ResNet18(num_classes, width, *form, mean, std, dtype)
