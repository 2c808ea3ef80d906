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

import flax.linen as nn

from bdjax.models.parts import layers, resnet
from bdjax.types import Array


class _Block(nn.Module):
  """conv-bn-relu-conv-bn, plus the shortcut, then relu."""

  channels: int
  stride: int
  dtype: str
  activation: str
  last_activation: str

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
    return resnet.block_output(y, x, act, self.last_activation)


make = resnet.maker(__name__, _Block, (2, 2, 2, 2), form=resnet.SumForm())
