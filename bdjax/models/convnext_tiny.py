"""ConvNeXt-Tiny: blocks of a 7x7 convolution per channel and a hidden layer.

Liu et al. 2022 (arXiv:2201.03545), laid out and initialized as in torchvision:
28,589,128 parameters with 1000 classes. A first convolution whose stride is its
size, 4; layer norm over the channels, and no batch norm anywhere. In training,
where a key is given for it, blocks are left out at random (arXiv:1603.09382),
the last in a tenth of the images. Images are 32 x 32 at least, since four
convolutions divide their sides by 32.

The features layer1..layer4 follow the stages; their mean over space,
normalized, is what the last layer reads.

Parameter tree, with torchvision's name where it differs (S = 2 L):
  conv1, conv1_ln               features.0.0, features.0.1
  layerL_B/{conv, ln}           features.S-1.B.block.{0, 2}
  layerL_B/{linear1, linear2}   features.S-1.B.block.{3, 5}
  layerL_B/layer_scale          features.S-1.B.layer_scale
  downL_ln, downL               features.S-2.0, features.S-2.1    L = 2..4
  ln, linear                    classifier.0, classifier.2
with layer_scale of the shape that it has there, [c, 1, 1].
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
from bdjax.models.parts import base, layers
from bdjax.types import Array, Images, Logits

BLOCKS = (3, 3, 9, 3)
PATCH = 4
_SCALE = 1e-6  # what a block's output is multiplied by at first
_INIT = nn.initializers.normal(0.02)  # theirs is cut at a hundred of these


class _Block(nn.Module):
  """A convolution per channel, norm, hidden layer; scaled, plus the input."""

  drop: float
  dtype: str

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    """Maps [B, h, w, c] to the same shape."""
    c = x.shape[-1]
    kind = {"init": _INIT, "dtype": self.dtype, "bias": True}
    y = layers.conv(c, 7, name="conv", groups=c, **kind)(x)
    y = layers.layer_norm("ln", self.dtype)(y)
    kind = {"kernel_init": _INIT, "dtype": self.dtype}
    y = nn.gelu(nn.Dense(4 * c, name="linear1", **kind)(y), approximate=False)
    y = nn.Dense(c, name="linear2", **kind)(y)
    init = nn.initializers.constant(_SCALE)
    scale = self.param("layer_scale", init, (c, 1, 1)).astype(self.dtype)
    y = y * scale.reshape(1, 1, 1, c)
    return x + layers.dropped(self, y, self.drop, train, whole=True)


class ConvNeXt(base.Network):
  """Four stages and a linear layer; see the module's docstring."""

  num_classes: int
  width: int
  drop_path: float
  mean: tuple[float, ...]
  std: tuple[float, ...]
  dtype: str
  blocks: tuple[int, ...] = BLOCKS

  @nn.compact
  def __call__(
    self, x: Images, train: bool = False
  ) -> tuple[Logits, dict[str, Array]]:
    """Returns logits and {layer1..layer4: [B, h, w, c], pooled: [B, c]}."""
    side = PATCH * 2 ** (len(self.blocks) - 1)
    if min(x.shape[1:3]) < side:
      raise ValueError(
        f"the images are {x.shape[1]} x {x.shape[2]}, but a ConvNeXt divides "
        f"their sides by {side}: give {side} x {side} at least."
      )
    x = layers.normalize(x, self.mean, self.std, self.dtype)
    x = self._reduced(x, PATCH, self.width, "conv1")
    x = layers.layer_norm("conv1_ln", self.dtype)(x)
    features, place, last = {}, 0, max(sum(self.blocks) - 1, 1)
    for stage, blocks in enumerate(self.blocks, 1):
      if stage > 1:
        x = layers.layer_norm(f"down{stage}_ln", self.dtype)(x)
        x = self._reduced(x, 2, 2 * x.shape[-1], f"down{stage}")
      for i in range(blocks):
        drop = self.drop_path * place / last
        block = _Block(drop, self.dtype, name=f"layer{stage}_{i}")
        x, place = block(x, train), place + 1
      features[f"layer{stage}"] = x
    features["pooled"] = layers.layer_norm("ln", "float32")(layers.pool(x))
    return layers.linear(
      features["pooled"], self.num_classes, init=_INIT
    ), features

  def _reduced(self, x: Array, size: int, channels: int, name: str) -> Array:
    """Returns what a convolution makes of windows that do not overlap."""
    kind = {"init": _INIT, "dtype": self.dtype, "bias": True}
    kind |= {"stride": size, "padding": 0}
    return layers.conv(channels, size, name=name, **kind)(x)


@validated
def make(
  num_classes: Index,
  *,
  width: Count = 96,
  drop_path: Annotated[float, Range(0.0, 1.0)] = 0.1,
  mean: Channels = (0.0, 0.0, 0.0),
  std: Channels = (1.0, 1.0, 1.0),
  dtype: Dtype = "float32",
) -> ConvNeXt:
  """Builds a ConvNeXt-Tiny.

  Args:
    num_classes: number of logits; 0 for an encoder, which has no last layer.
    width: channels of the first stage; each later one doubles them.
    drop_path: how often the last block is left out in training; from 0 it rises
      evenly from block to block.
    mean: per-channel mean of the training images in [0, 1].
    std: per-channel standard deviation of the same.
    dtype: what the layers compute in; parameters, pooled features and logits
      stay float32, as do the sums inside norms.
  """
  levels = layers.check(mean, std)
  return ConvNeXt(num_classes, width, drop_path, *levels, dtype)
