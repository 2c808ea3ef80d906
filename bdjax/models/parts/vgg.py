"""VGG: stages of 3x3 convolutions, each ending in a max pool.

Simonyan and Zisserman 2014 (arXiv:1409.1556), as it is or with batch norm after
every convolution, as in torchvision: convolutions have a bias, though the norm
undoes it. Images are 32 x 32 at least, since five pools halve them.

Two heads follow the last pool. "torchvision": adaptive mean pool to 7 x 7, two
hidden layers with ReLU and dropout where a key is given for it, `linear`. Its
input is flattened channels first, as PyTorch does, so that weights of either
mean the same. "compact": global mean pool and `linear`, as CIFAR's VGGs are
commonly written; theirs have no pool over space, so that they take 32 x 32
images alone, of which just one place is left.

Parameter tree, with torchvision's name where it differs:
  convS_I, bnS_I      features.N, features.N + 1   stages S, layers I from 1;
                                                   with batch norm only the bn
  linear1, linear2    classifier.0, classifier.3   "torchvision" only
  linear              classifier.6, or classifier if "compact"
"""

from collections.abc import Callable
from typing import Annotated

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from bdjax.methods.signature import (
  Channels,
  Choice,
  Count,
  Dtype,
  Index,
  Range,
  validated,
)
from bdjax.models.parts import base, layers
from bdjax.types import Array, Images, Logits

HEADS = ("torchvision", "compact")
STAGES = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # convolutions by depth
POOLS = {"max": nn.max_pool, "mean": nn.avg_pool}
GRID = 7  # places per side that torchvision's head reads
_INIT = nn.initializers.normal(0.01)  # torchvision's, for linear layers


class VGG(base.Network):
  """Five stages and a head; see the module's docstring."""

  num_classes: int
  stages: tuple[int, ...]
  norm: bool
  width: int
  head: str
  hidden: int
  dropout: float
  activation: str
  pools: str
  mean: tuple[float, ...]
  std: tuple[float, ...]
  dtype: str

  @nn.compact
  def __call__(
    self, x: Images, train: bool = False
  ) -> tuple[Logits, dict[str, Array]]:
    """Returns logits and features.

    The features are layer1..layer5 [B, h, w, c], before their pools, and what
    the last layer reads, pooled [B, c]; hidden1 [B, c] with two hidden layers.
    """
    if min(x.shape[1:3]) < 2 ** len(self.stages):
      raise ValueError(
        f"the images are {x.shape[1]} x {x.shape[2]}, but a VGG halves them "
        f"{len(self.stages)} times: give 32 x 32 at least."
      )
    x = layers.normalize(x, self.mean, self.std, self.dtype)
    features = {}
    for stage, depth in enumerate(self.stages, 1):
      for i in range(1, depth + 1):
        x = self._convolved(x, train, stage=stage, suffix=f"{stage}_{i}")
      features[f"layer{stage}"] = x
      x = POOLS[self.pools](x, (2, 2), strides=(2, 2))
    if self.head == "compact":
      features["pooled"] = layers.pool(x)
    else:
      features |= self._classified(x, train)
    init = None if self.head == "compact" else _INIT
    return layers.linear(
      features["pooled"], self.num_classes, init=init
    ), features

  def _convolved(
    self, x: Array, train: bool, *, stage: int, suffix: str
  ) -> Array:
    channels = self.width * min(2 ** (stage - 1), 8)
    kind = {"init": layers.he_fan_out, "dtype": self.dtype, "bias": True}
    x = layers.conv(channels, 3, name=f"conv{suffix}", **kind)(x)
    if self.norm:
      x = layers.batch_norm(train, name=f"bn{suffix}", dtype=self.dtype)(x)
    return layers.ACTIVATIONS[self.activation](x)

  def _classified(self, x: Array, train: bool) -> dict[str, Array]:
    """Returns the outputs of the two hidden layers, by name."""
    x = adapt(x, GRID).transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
    features = {}
    for i, name in ((1, "hidden1"), (2, "pooled")):
      dense = nn.Dense(
        self.hidden, kernel_init=_INIT, dtype=self.dtype, name=f"linear{i}"
      )
      x = layers.ACTIVATIONS[self.activation](dense(x))
      x = layers.dropped(self, x, self.dropout, train)
      x = features[name] = x.astype(jnp.float32)
    return features


def adapt(x: Array, places: int) -> Array:
  """Returns the means over a grid of windows, [B, h, w, c] -> [B, n, n, c].

  As PyTorch's adaptive pool: window i of n along a side of h pixels goes from
  floor(i h / n) to ceil((i + 1) h / n), so that neighbours overlap where n does
  not divide h, and repeat where h is smaller.

  Args:
    places: n, windows along each side.
  """
  rows, columns = (_windows(side, places) for side in x.shape[1:3])
  if rows.shape == columns.shape == (places, places):
    return x
  return jnp.einsum(
    "ih,jw,bhwc->bijc", rows.astype(x.dtype), columns.astype(x.dtype), x
  )


def _windows(side: int, places: int) -> np.ndarray:
  """Returns each window's weights of the pixels along a side, [n, side]."""
  weights = np.zeros((places, side), np.float32)
  for i in range(places):
    low, high = i * side // places, -(-(i + 1) * side // places)
    weights[i, low:high] = 1 / (high - low)
  return weights


def maker(module: str, *, depth: int, norm: bool = True) -> Callable[..., VGG]:
  """Returns the `make` of a file that holds the VGG of a depth.

  Args:
    module: the file's `__name__`, by which errors name the model.
    depth: one of STAGES.
    norm: whether a batch norm follows each convolution.
  """

  def make(
    num_classes: Index,
    *,
    width: Count = 64,
    head: Annotated[str, Choice(HEADS)] = "torchvision",
    hidden: Count = 4096,
    dropout: Annotated[float, Range(0.0, 1.0, closed=True)] = 0.5,
    activation: Annotated[str, Choice(layers.ACTIVATIONS)] = "relu",
    pools: Annotated[str, Choice(POOLS)] = "max",
    mean: Channels = (0.0, 0.0, 0.0),
    std: Channels = (1.0, 1.0, 1.0),
    dtype: Dtype = "float32",
  ) -> VGG:
    """Builds a VGG.

    Args:
      num_classes: number of logits; 0 for an encoder, which has no last layer.
      width: channels of the first stage; the last two have eight times as many.
      head: "torchvision" (7 x 7 places, two hidden layers) or "compact" (global
        mean pool, none).
      hidden: channels of each hidden layer; of no use without any.
      dropout: share of them that is dropped in training; likewise.
      activation: what follows convolutions (or norms) and hidden layers.
      pools: what ends the stages: "max" or "mean".
      mean: per-channel mean of the training images in [0, 1].
      std: per-channel standard deviation of the same.
      dtype: what convolutions and hidden layers compute in; parameters, batch
        statistics, pooled features and logits stay float32.

    Raises:
      ValueError: the dropout is 1.
    """
    if dropout == 1:
      raise ValueError("dropout 1 leaves no hidden channel: give less.")
    form = STAGES[depth], norm, width, head, hidden, dropout, activation, pools
    mean, std = layers.check(mean, std)
    return VGG(num_classes, *form, mean, std, dtype)

  make.__module__ = module
  return validated(make)
