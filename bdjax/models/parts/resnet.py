"""What ResNets share: all but their blocks.

He et al. 2015 (arXiv:1512.03385) and 2016 (arXiv:1603.05027). Of the forms that
others give to the stem and the strides, the weights show no more than the size
of the first kernel.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple

import flax.linen as nn

from bdjax.methods.signature import (
  Channels,
  Choice,
  Count,
  Dtype,
  Group,
  Index,
  validated,
)
from bdjax.models.parts import base, layers
from bdjax.types import Array, Images, Logits


class Stem(NamedTuple):
  """The first convolution's size and stride, and whether a max pool follows."""

  size: int
  stride: int
  pool: bool


STEMS = {
  "cifar": Stem(3, 1, False),
  "cifar_pool": Stem(3, 1, True),
  "cifar_stride": Stem(3, 2, False),
  "cifar_stride_pool": Stem(3, 2, True),
  "imagenet": Stem(7, 2, True),
  "imagenet_unpooled": Stem(7, 2, False),
  "imagenet_dense": Stem(7, 1, False),
  "imagenet_dense_pool": Stem(7, 1, True),
}
SMALL = tuple(name for name, stem in STEMS.items() if stem.size == 3)
# Of the four stages. Where the first stage widens, it may stride as well.
STRIDES = ("1222", "1221", "1212", "1211", "1122", "1112", "1111")
WIDENED = (*STRIDES, "2222", "2221")
# Where the last activation of a block stands that ends in a sum: figure 4 of He
# et al. 2016 has the usual place (a) and that before the sum (c); Gross and
# Wilber (Torch's blog, 2016) have none.
LAST = ("after_sum", "before_sum", "none")


@dataclasses.dataclass(frozen=True)
class Form:
  """What the blocks of one ResNet alone leave open: here nothing."""


@dataclasses.dataclass(frozen=True)
class SumForm(Form):
  """What blocks leave open whose last norm is followed by a sum.

  Attributes:
    last_activation: where it stands, one of LAST.
  """

  last_activation: Annotated[str, Choice(LAST)] = "after_sum"


def block_output(
  branch: Array,
  shortcut: Array,
  activation: Callable[[Array], Array],
  place: str,
) -> Array:
  """Returns the sum in which a block ends, activated.

  Args:
    branch: [B, h, w, c], what the block computed, normalized.
    shortcut: [B, h, w, c], what it adds that to.
    activation: the last one.
    place: of it, one of LAST.
  """
  if place == "before_sum":
    return activation(branch) + shortcut
  total = branch + shortcut
  return activation(total) if place == "after_sum" else total


class ResNet(base.Network):
  """A stem, four stages of blocks, a global mean pool and a linear layer.

  Attributes:
    num_classes: logits; 0 for an encoder.
    block: the class of its blocks, made of (channels, stride, dtype,
      activation) and, by name, the fields of `form`.
    blocks: how many each stage has.
    width: channels of the first stage's blocks; each later one doubles them.
    stem: a name in STEMS.
    strides: of the first block of each stage, a digit each.
    activation: a name in `layers.ACTIVATIONS`.
    bare: whether the stem is a convolution alone, drawn as PyTorch does.
    form: what else its blocks are made of.
    mean: per channel.
    std: per channel.
    dtype: what convolutions compute in.
  """

  num_classes: int
  block: type[nn.Module]
  blocks: tuple[int, ...]
  width: int
  stem: str
  strides: str
  activation: str
  bare: bool
  form: Form
  mean: tuple[float, ...]
  std: tuple[float, ...]
  dtype: str

  @nn.compact
  def __call__(
    self, x: Images, train: bool = False
  ) -> tuple[Logits, dict[str, Array]]:
    """Returns logits and {layer1..layer4: [B, h, w, c], pooled: [B, c]}."""
    x = layers.normalize(x, self.mean, self.std, self.dtype)
    x = self._stemmed(x, train)
    kind = {"dtype": self.dtype, "activation": self.activation}
    kind |= dataclasses.asdict(self.form)
    features = {}
    for stage, blocks in enumerate(self.blocks):
      for place in range(blocks):
        stride = int(self.strides[stage]) if place == 0 else 1
        name = f"layer{stage + 1}_{place}"
        channels = self.width * 2**stage
        x = self.block(channels, stride, name=name, **kind)(x, train)
      features[f"layer{stage + 1}"] = x
    features["pooled"] = layers.pool(x)
    return layers.linear(features["pooled"], self.num_classes), features

  def _stemmed(self, x: Array, train: bool) -> Array:
    """Returns what the first stage takes, [B, h, w, width]."""
    size, stride, pool = STEMS[self.stem]
    init = layers.torch_default if self.bare else layers.he_fan_out
    kind = {"init": init, "dtype": self.dtype}
    x = layers.conv(self.width, size, stride=stride, name="conv1", **kind)(x)
    if not self.bare:
      x = layers.batch_norm(train, name="bn1", dtype=self.dtype)(x)
      x = layers.ACTIVATIONS[self.activation](x)
    if pool:
      x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
    return x


def maker(
  module: str,
  block: type[nn.Module],
  blocks: tuple[int, ...],
  *,
  stems: Sequence[str] = tuple(STEMS),
  strides: Sequence[str] = STRIDES,
  bare: bool = False,
  form: Form = Form(),
) -> Callable[..., ResNet]:
  """Returns the `make` of a file that holds a ResNet.

  Args:
    module: the file's `__name__`, by which errors name the model.
    stems: those that it may have.
    strides: likewise.
    form: its usual one; the fields are arguments of the `make`, too.
  """

  def make(
    num_classes: Index,
    *,
    width: Count = 64,
    stem: Annotated[str, Choice(stems)] = "cifar",
    strides: Annotated[str, Choice(strides)] = "1222",
    activation: Annotated[str, Choice(layers.ACTIVATIONS)] = "relu",
    form: Annotated[type(form), Group.of(type(form))] = form,
    mean: Channels = (0.0, 0.0, 0.0),
    std: Channels = (1.0, 1.0, 1.0),
    dtype: Dtype = "float32",
  ) -> ResNet:
    """Builds a ResNet.

    Args:
      num_classes: number of logits; 0 for an encoder, which has no last layer.
      width: channels inside the first stage's blocks, an eighth of the last's.
      stem: "cifar" (3x3), "imagenet" (7x7, stride 2, max pool), or of STEMS.
      strides: of the first block of each stage.
      activation: what follows the norms.
      form: what its blocks leave open besides.
      mean: per-channel mean of the training images in [0, 1].
      std: per-channel standard deviation of the same.
      dtype: what convolutions compute in; parameters, batch statistics, pooled
        features and logits stay float32.
    """
    usual = num_classes, block, blocks, width, stem, strides, activation
    return ResNet(*usual, bare, form, *layers.check(mean, std), dtype)

  make.__module__ = module
  return validated(make)
