"""DenseNet-161: layers that each read the outputs of all before them.

Huang et al. 2016 (arXiv:1608.06993), laid out and initialized as in
torchvision: 28,681,000 parameters with 1000 classes. Stem of ImageNet (7x7,
stride 2, max pool), with which BackdoorBench trains on 32 x 32 images too: the
smallest there are, since they are halved five times.

A layer adds half as many channels as the first convolution has; a transition
halves channels and sides. The features layer1..layer4 follow the stages, before
their transitions.

Parameter tree, with torchvision's name where it differs:
  conv1, bn1                   features.conv0, features.norm0
  layerL_B/{bnK, convK}        features.denseblockL.denselayer(B+1).*  K = 1, 2
                               with norm for bn
  transitionL_bn, transitionL  features.transitionL.{norm, conv}  L = 1..3
  bn2                          features.norm5
  linear                       classifier
"""

import flax.linen as nn
import jax.numpy as jnp

from bdjax.methods.signature import Channels, Count, Dtype, Index, validated
from bdjax.models.parts import base, layers
from bdjax.types import Array, Images, Logits

BLOCKS = (6, 12, 36, 24)
BOTTLENECK = 4  # channels inside a layer per channel that it adds
_HALVINGS = 5  # of the sides: stem, its pool and three transitions
_INIT = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


class _Layer(nn.Module):
  """A 1x1 and a 3x3 convolution, each after a norm and relu."""

  growth: int
  dtype: str

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    """Maps [B, h, w, c] to [B, h, w, c + growth]."""
    kind, y = {"dtype": self.dtype}, x
    for i, (channels, size) in enumerate(
      ((BOTTLENECK * self.growth, 1), (self.growth, 3)), 1
    ):
      y = nn.relu(layers.batch_norm(train, name=f"bn{i}", **kind)(y))
      y = layers.conv(channels, size, name=f"conv{i}", init=_INIT, **kind)(y)
    return jnp.concatenate([x, y], axis=-1)


class DenseNet(base.Network):
  """A stem, four stages and a linear layer; see the module's docstring."""

  num_classes: int
  width: int
  mean: tuple[float, ...]
  std: tuple[float, ...]
  dtype: str
  blocks: tuple[int, ...] = BLOCKS

  @nn.compact
  def __call__(
    self, x: Images, train: bool = False
  ) -> tuple[Logits, dict[str, Array]]:
    """Returns logits and {layer1..layer4: [B, h, w, c], pooled: [B, c]}."""
    if min(x.shape[1:3]) < 2**_HALVINGS:
      raise ValueError(
        f"the images are {x.shape[1]} x {x.shape[2]}, but a DenseNet halves "
        f"them {_HALVINGS} times: give 32 x 32 at least."
      )
    kind = {"dtype": self.dtype}
    x = layers.normalize(x, self.mean, self.std, self.dtype)
    x = layers.conv(self.width, 7, stride=2, name="conv1", init=_INIT, **kind)(
      x
    )
    x = nn.relu(layers.batch_norm(train, name="bn1", **kind)(x))
    x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
    features, growth = {}, max(1, self.width // 2)
    for stage, blocks in enumerate(self.blocks, 1):
      if stage > 1:
        x = self._halved(x, train, f"transition{stage - 1}")
      for i in range(blocks):
        x = _Layer(growth, self.dtype, name=f"layer{stage}_{i}")(x, train)
      features[f"layer{stage}"] = x
    x = nn.relu(layers.batch_norm(train, name="bn2", **kind)(x))
    features["pooled"] = layers.pool(x)
    init = layers.torch_default
    return layers.linear(
      features["pooled"], self.num_classes, init=init
    ), features

  def _halved(self, x: Array, train: bool, name: str) -> Array:
    """Returns half as many channels, of a quarter as many places."""
    kind = {"dtype": self.dtype}
    x = nn.relu(layers.batch_norm(train, name=f"{name}_bn", **kind)(x))
    channels = x.shape[-1] // 2
    x = layers.conv(channels, 1, name=name, init=_INIT, **kind)(x)
    return nn.avg_pool(x, (2, 2), strides=(2, 2))


@validated
def make(
  num_classes: Index,
  *,
  width: Count = 96,
  mean: Channels = (0.0, 0.0, 0.0),
  std: Channels = (1.0, 1.0, 1.0),
  dtype: Dtype = "float32",
) -> DenseNet:
  """Builds a DenseNet-161.

  Args:
    num_classes: number of logits; 0 for an encoder, which has no last layer.
    width: channels of the first convolution; each layer adds half as many.
    mean: per-channel mean of the training images in [0, 1].
    std: per-channel standard deviation of the same.
    dtype: what convolutions compute in; parameters, batch statistics, pooled
      features and logits stay float32.
  """
  return DenseNet(num_classes, width, *layers.check(mean, std), dtype)
