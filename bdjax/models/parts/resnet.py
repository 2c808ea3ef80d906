"""What ResNets share: all but their blocks.

He et al. 2015 (arXiv:1512.03385) and 2016 (arXiv:1603.05027).
"""

from collections.abc import Callable
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
from bdjax.models.parts import layers
from bdjax.types import Array, Images, Logits

STEMS = ("cifar", "imagenet")


class ResNet(nn.Module):
  """A stem, four stages of blocks, a global mean pool and a linear layer.

  Attributes:
    num_classes: logits; 0 for an encoder.
    block: the class of its blocks, made of (channels, stride, dtype).
    blocks: how many each stage has.
    width: channels of the first stage's blocks; each later one doubles them.
    stem: the form of the first layers, see `stem`.
    mean: per channel.
    std: per channel.
    dtype: what convolutions compute in.
  """

  num_classes: int
  block: type[nn.Module]
  blocks: tuple[int, ...]
  width: int
  stem: str
  mean: tuple[float, ...]
  std: tuple[float, ...]
  dtype: str

  @nn.compact
  def __call__(
    self, x: Images, train: bool = False
  ) -> tuple[Logits, dict[str, Array]]:
    """Returns logits and {layer1..layer4: [B, h, w, c], pooled: [B, c]}."""
    x = layers.normalize(x, self.mean, self.std, self.dtype)
    kind = {"width": self.width, "dtype": self.dtype}
    x = stem(x, train, form=self.stem, **kind)
    features = {}
    for stage, blocks in enumerate(self.blocks):
      for place in range(blocks):
        stride = 2 if stage > 0 and place == 0 else 1
        name = f"layer{stage + 1}_{place}"
        channels = self.width * 2**stage
        x = self.block(channels, stride, self.dtype, name=name)(x, train)
      features[f"layer{stage + 1}"] = x
    features["pooled"] = layers.pool(x)
    return layers.linear(features["pooled"], self.num_classes), features


def stem(x: Array, train: bool, *, form: str, width: int, dtype: str) -> Array:
  """Applies the layers before the first stage; call it in a compact method.

  Args:
    x: [B, H, W, C], normalized.
    train: whether batch norm uses the batch's statistics.
    form: "cifar" (3x3, stride 1), "imagenet" (7x7, stride 2, max pool), or
      "bare" (the convolution of "cifar" alone, drawn as PyTorch does).
    width: channels of the result.
    dtype: what it computes in.
  """
  if form == "bare":
    kind = {"init": layers.torch_default, "dtype": dtype}
    return layers.conv(width, 3, name="conv1", **kind)(x)
  size, stride = (7, 2) if form == "imagenet" else (3, 1)
  kind = {"init": layers.he_fan_out, "dtype": dtype}
  x = layers.conv(width, size, stride=stride, name="conv1", **kind)(x)
  x = nn.relu(layers.batch_norm(train, name="bn1", dtype=dtype)(x))
  if form == "imagenet":
    x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
  return x


def maker(
  module: str, block: type[nn.Module], blocks: tuple[int, ...]
) -> Callable[..., ResNet]:
  """Returns the `make` of a file that holds a ResNet.

  Args:
    module: the file's `__name__`, by which errors name the model.
    block: see `ResNet`.
    blocks: see `ResNet`.
  """

  def make(
    num_classes: Index,
    *,
    width: Count = 64,
    stem: Annotated[str, Choice(STEMS)] = "cifar",
    mean: Channels = (0.0, 0.0, 0.0),
    std: Channels = (1.0, 1.0, 1.0),
    dtype: Dtype = "float32",
  ) -> ResNet:
    """Builds a ResNet.

    Args:
      num_classes: number of logits; 0 for an encoder, which has no last layer.
      width: channels inside the first stage's blocks; the last stage's have
        eight times as many.
      stem: "cifar" (3x3, stride 1) or "imagenet" (7x7, stride 2, max pool).
      mean: per-channel mean of the training images in [0, 1].
      std: per-channel standard deviation of the same.
      dtype: what convolutions compute in; parameters, batch statistics, pooled
        features and logits stay float32.
    """
    mean, std = layers.check(mean, std)
    return ResNet(num_classes, block, blocks, width, stem, mean, std, dtype)

  make.__module__ = module
  return validated(make)
