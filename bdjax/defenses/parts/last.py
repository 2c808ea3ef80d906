"""A classifier's last layer: drawn anew, held at its size, trained apart.

What feature-shift tuning and the tunings it is compared with (Min et al.,
arXiv 2310.01875) do with W, the kernel [features, classes] of the last layer,
and its bias.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import traverse_util

from bdjax.defenses.parts import tuning
from bdjax.types import (
  Access,
  Array,
  Defended,
  Defense,
  Fit,
  Images,
  Key,
  Params,
  Recipe,
  Scalar,
)

# Of the authors' code, fine_tune/ft.py, and of the command in their README.
RECIPE = Recipe(
  lr=0.01, epochs=10, batch_size=128, schedule="cosine", weight_decay=0.0
)
OFFICIAL = {"clean_rate": 0.02, "epochs": 10, "batch_size": 128}


def kernel(params: Params) -> Array:
  """Returns the weights of the last layer, [features, classes]."""
  return _flat(params)[*_place(params), "kernel"]


def size(params: Params) -> Array:
  """Returns the Euclidean norm of those weights, a scalar."""
  return jnp.linalg.norm(kernel(params))


def drawn(key: Key, variables: Params) -> Params:
  """Returns a model's variables with its last layer drawn anew.

  Weights and biases are uniform between -b and b, b = features^-.5, as PyTorch
  draws them and as the authors' code does, whatever the layer began with.

  Args:
    key: decides the draw.
    variables: of the model.
  """
  params = variables["params"]
  flat, place = _flat(params), _place(params)
  bound = kernel(params).shape[0] ** -0.5
  for name, k in zip(("kernel", "bias"), jax.random.split(key), strict=True):
    old = flat[*place, name]
    flat[*place, name] = jax.random.uniform(
      k, old.shape, old.dtype, -bound, bound
    )
  return {**variables, "params": traverse_util.unflatten_dict(flat)}


def alone(params: Params) -> Params:
  """Returns which parameters are the last layer's, as a tree of bool."""
  place, flat = _place(params), _flat(params)
  return traverse_util.unflatten_dict({k: k[:-1] == place for k in flat})


def others(params: Params) -> Params:
  """Returns which parameters are not the last layer's, as a tree of bool."""
  return jax.tree.map(lambda last: not last, alone(params))


def held(
  tx: optax.GradientTransformation, norm: Scalar
) -> optax.GradientTransformationExtraArgs:
  """Returns an optimizer after each step of which the last weights have a norm.

  The bias is left alone, and so are the weights before the first step.

  Args:
    tx: takes the step.
    norm: Euclidean, over all weights of the layer, as `size`.
  """
  tx = optax.with_extra_args_support(tx)

  def update(grads, state, params, **extra):
    updates, state = tx.update(grads, state, params, **extra)
    flat, where = _flat(updates), (*_place(params), "kernel")
    before = kernel(params)
    after = before + flat[where]
    flat[where] = after * (norm / jnp.linalg.norm(after)) - before
    return traverse_util.unflatten_dict(flat), state

  return optax.GradientTransformationExtraArgs(tx.init, update)


def redrawn(
  recipe: Recipe,
  *,
  name: str,
  keep_norm: bool,
  wrap: Callable[
    [optax.GradientTransformation, Params], optax.GradientTransformation
  ] = lambda tx, suspect: tx,
) -> Defense:
  """Returns the defense that fine-tunes from a last layer that is drawn anew.

  Args:
    recipe: of training on the clean subset.
    name: of its stage.
    keep_norm: hold the last layer's weights at the norm of the suspect's.
    wrap: (optimizer, the suspect's parameters) -> the optimizer, before that.
  """

  def defend(key: Key, access: Access, fit: Fit) -> Defended:
    k_layer, k_tune = jax.random.split(key)
    suspect = access.variables["params"]

    def wrapped(tx):
      tx = wrap(tx, suspect)
      return held(tx, size(suspect)) if keep_norm else tx

    access = access.replace(variables=drawn(k_layer, access.variables))
    return Defended(
      tuning.fine_tune(k_tune, access, fit, recipe, wrap=wrapped, name=name)
    )

  return Defense(defend)


class Probed(NamedTuple):
  """A model of which the last layer alone can learn; it stands in for one.

  Nothing but that layer has a gradient, so that a step costs a forward pass.

  Attributes:
    model: the architecture.
    moving: whether batch norm takes in what it sees, and uses the batch's
      statistics; else the model is in evaluation mode throughout.
  """

  model: nn.Module
  moving: bool

  def apply(
    self,
    variables: Params,
    images: Images,
    *,
    train: bool = False,
    mutable: Any = (),
    **more: Any,
  ) -> Any:
    """Returns what `model.apply` does."""
    params = variables["params"]
    params = jax.tree.map(
      lambda x, last: x if last else jax.lax.stop_gradient(x),
      params,
      alone(params),
    )
    variables = {**variables, "params": params}
    if self.moving or not train:
      return self.model.apply(
        variables, images, train=train, mutable=mutable, **more
      )
    kept = {name: variables[name] for name in mutable}
    return self.model.apply(variables, images, train=False), kept


def _place(params: Params) -> tuple[str, ...]:
  return ("head", "linear") if "head" in params else ("linear",)


def _flat(params: Params) -> dict[tuple[str, ...], Array]:
  return dict(traverse_util.flatten_dict(params))
