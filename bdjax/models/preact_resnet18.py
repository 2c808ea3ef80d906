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

import dataclasses
from typing import Annotated

import flax.linen as nn

from bdjax.methods.signature import Choice
from bdjax.models.parts import layers, resnet
from bdjax.types import Array


@dataclasses.dataclass(frozen=True)
class _Form(resnet.Form):
  """Where a projected shortcut starts.

  Attributes:
    shortcut: takes x "activated", or "raw".
  """

  shortcut: Annotated[str, Choice(("activated", "raw"))] = "activated"


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


make = resnet.maker(
  *(__name__, _Block, (2, 2, 2, 2)),
  stems=resnet.SMALL,
  bare=True,
  form=_Form(),
)
