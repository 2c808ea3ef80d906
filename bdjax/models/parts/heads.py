"""Heads: what is put on the pooled features of a backbone.

A user who adapts a model to another task replaces its last layer: `Headed` is
an encoder (an architecture made with 0 classes) under any head. Parameters and
statistics lie under `backbone` and `head`.

- `Linear`: one layer, the replaced last layer of transfer learning.
- `MLP`: C-512-256-classes with ReLU and dropout .5, the downstream classifier
  of BadEncoder (Jia et al., arXiv 2108.00352) and of Sha et al. (2212.09067).
- `Projection`: C-C-128 with batch norm and ReLU, SimCLR's (Chen et al.,
  arXiv 2002.05709), as BadEncoder's code has it.
- `Prototypes`: the cosine to one vector per class; needs no training.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util

from bdjax.models.parts import base, layers
from bdjax.types import Array, Images, Logits, Params

HEADS = ("linear", "mlp")
_READERS = (
  ("head", "linear1", "kernel"),
  ("head", "linear", "kernel"),
  ("linear", "kernel"),
)


class Headed(base.Network):
  """A backbone and a head; see the module's docstring.

  Attributes:
    backbone: an encoder.
    head: (features [B, C], train) -> logits.
    frozen: the backbone is a constant in evaluation mode, also in training.
  """

  backbone: nn.Module
  head: nn.Module
  frozen: bool = False

  def __call__(
    self, x: Images, train: bool = False
  ) -> tuple[Logits, dict[str, Array]]:
    """Returns the head's logits and the backbone's features."""
    _, features = self.backbone(x, train=train and not self.frozen)
    if self.frozen:
      features = jax.lax.stop_gradient(features)
    return self.head(features["pooled"], train), features


class Linear(base.Network):
  """One linear layer."""

  num_classes: int

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Logits:
    """Maps [B, C] to [B, classes]."""
    del train
    return layers.linear(x, self.num_classes)


class MLP(base.Network):
  """Three linear layers with ReLU, and dropout where a key is given for it."""

  num_classes: int
  hidden: tuple[int, ...] = (512, 256)
  dropout: float = 0.5

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Logits:
    """Maps [B, C] to [B, classes]."""
    drop = nn.Dropout(
      self.dropout, deterministic=not (train and self.has_rng("dropout"))
    )
    for i, channels in enumerate(self.hidden):
      x = drop(nn.relu(layers.linear(x, channels, name=f"linear{i + 1}")))
    return layers.linear(x, self.num_classes)


class Projection(base.Network):
  """Linear without bias, batch norm, ReLU, linear."""

  size: int = 128

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Array:
    """Maps [B, C] to [B, size]."""
    init = layers.torch_default
    x = nn.Dense(x.shape[-1], use_bias=False, kernel_init=init, name="hidden")(
      x
    )
    x = layers.batch_norm(train, name="bn", dtype="float32")(x)
    return layers.linear(nn.relu(x), self.size)


class Prototypes(nn.Module):
  """Cosines to the columns of a kernel [C, classes], which is given."""

  num_classes: int

  @nn.compact
  def __call__(self, x: Array, train: bool) -> Logits:
    """Maps [B, C] to [B, classes] in [-1, 1]."""
    del train
    shape = (x.shape[-1], self.num_classes)
    kernel = self.param("kernel", nn.initializers.zeros, shape)
    return unit(x) @ unit(kernel, axis=0)


def unit(x: Array, *, axis: int = -1) -> Array:
  """Returns vectors of length 1 along an axis; 0 stays 0."""
  size = jnp.linalg.norm(x, axis=axis, keepdims=True)
  return x / jnp.maximum(size, 1e-12)


def make(head: str, num_classes: int) -> nn.Module:
  """Returns a head by name: linear or mlp."""
  return {"linear": Linear, "mlp": MLP}[head](num_classes)


def reader(params: Params) -> tuple[str, ...] | None:
  """Returns the path of the kernel that reads pooled features, if any does.

  Args:
    params: of a classifier, or of an encoder under one of the `HEADS`.
  """
  flat = traverse_util.flatten_dict(params)
  return next((path for path in _READERS if path in flat), None)


def answer(model: nn.Module, params: Params, pooled: Array) -> Logits:
  """Returns the logits that pooled features [B, C] lead to, in evaluation."""
  if isinstance(model, Headed):
    return model.head.apply({"params": params["head"]}, pooled, False)
  return pooled @ params["linear"]["kernel"] + params["linear"]["bias"][None]


def backbone(variables: Params) -> Params:
  """Returns the backbone's part of a headed model's variables."""
  return {name: tree["backbone"] for name, tree in variables.items()}


def on(backbone: Params, head: Params) -> Params:
  """Returns a headed model's variables from its parts'.

  Args:
    backbone: variables of an encoder; a last layer of its own is left out.
    head: variables of a head, without batch norm.
  """
  params = {k: v for k, v in backbone["params"].items() if k != "linear"}
  rest = {k: {"backbone": v} for k, v in backbone.items() if k != "params"}
  return {"params": {"backbone": params, "head": head["params"]}, **rest}
