"""Channels as neurons: masks on batch norms, and cutting the masked channels.

A channel's switch is the scale of the batch norm that it passes: a mask in
[0, 1] multiplies it, and zero cuts the channel down to its bias. Masks are
trained on clean images alone, by SGD clipped to [0, 1]; the channels below a
threshold are then cut, and the threshold is given or chosen on clean images
that were held out. Used by ANP, RNP and CLP.
"""

from collections.abc import Callable
from typing import Annotated, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import traverse_util

from bdjax.data import splits
from bdjax.methods.signature import Choice
from bdjax.training import engine, inference, learn, optimizers
from bdjax.types import (
  Access,
  Array,
  Batch,
  Dataset,
  Fit,
  Images,
  Key,
  Logits,
  Params,
  Recipe,
  Scalar,
)

Masks = dict[str, Array]  # [channels] by the path of a batch norm, "a/b"
Objective = Callable[[Key, Masks, Batch], tuple[Array, Logits]]
Select = Annotated[str, Choice(("holdout", "fixed"))]


class Below(NamedTuple):
  """What a threshold may be: at 1 every channel goes, trained or not."""

  def __contains__(self, value: float) -> bool:
    """Returns whether the number is one."""
    return 0 <= value < 1

  def __str__(self) -> str:
    """Returns the range in words."""
    return "at least 0 and below 1"


Threshold = Annotated[Scalar, Below()]

THRESHOLDS = tuple(i / 20 for i in range(19))  # 0 to .9
NONE = -1.0  # a threshold below every mask
HELD = 0.2  # share of the clean images by which a threshold is chosen


class Masking(NamedTuple):
  """Masks in training, and the model that they mask.

  The model is state, not a constant of the step, since constants are compiled
  in: a large program for each model.
  """

  masks: Masks
  opt_state: optax.OptState
  variables: Params


def norms(variables: Params) -> list[str]:
  """Returns the paths of a model's batch norms.

  Raises:
    ValueError: there is none that has a scale and a bias.
  """
  params = _flat(variables["params"])
  stats = _flat(variables.get("batch_stats", {}))
  paths = [name.removesuffix("/var") for name in stats if name.endswith("/var")]
  prunable = [p for p in paths if {f"{p}/scale", f"{p}/bias"} <= params.keys()]
  if not prunable:
    raise ValueError(
      f"none of the layers {sorted(variables['params'])} is a batch norm with "
      "a scale and a bias, which is what channels are pruned by: take a cnn, a "
      "ResNet or a VGG with batch norm."
    )
  return prunable


def ones(variables: Params) -> Masks:
  """Returns the masks that change nothing."""
  params = _flat(variables["params"])
  return {p: jnp.ones_like(params[f"{p}/scale"]) for p in norms(variables)}


def scaled(
  variables: Params, scale: Masks, bias: Masks | None = None
) -> Params:
  """Returns the variables with batch norms' scales (and biases) multiplied."""
  params = _flat(variables["params"])
  for kind, factors in (("scale", scale), ("bias", bias or {})):
    for path, factor in factors.items():
      params[f"{path}/{kind}"] = params[f"{path}/{kind}"] * factor
  return {**variables, "params": traverse_util.unflatten_dict(params, sep="/")}


def below(masks: Masks, threshold: Scalar) -> Masks:
  """Returns which channels have a mask of at most the threshold, as bools."""
  return jax.tree.map(lambda mask: mask <= threshold, masks)


def cut(variables: Params, which: Masks, *, bias: bool = False) -> Params:
  """Returns the variables with channels cut: scale (and bias) zero.

  Args:
    which: bools, True for the channels to cut; norms left out stay.
    bias: whether the bias goes too, so that nothing is left of the channel.
  """
  factors = jax.tree.map(lambda mask: jnp.where(mask, 0.0, 1.0), which)
  return scaled(variables, factors, factors if bias else None)


def count(which: Masks) -> Array:
  """Returns how many channels are marked, int32."""
  return sum(jnp.sum(mask, dtype=jnp.int32) for mask in which.values())


def logits(
  model: nn.Module,
  variables: Params,
  images: Images,
  scale: Masks,
  bias: Masks | None = None,
) -> Logits:
  """Returns a masked model's logits in training mode.

  Batch norm uses the batch's own statistics; running ones are left alone.
  """
  params, stats = learn.parted(scaled(variables, scale, bias))
  return learn.forward(model, params, stats, images)[0][0]


def split(
  key: Key, data: Dataset, select: str, *, images: int | None = None
) -> tuple[Dataset, Dataset | None]:
  """Returns the images to train masks on, and those to choose a threshold by.

  Args:
    data: the defender's clean images.
    select: "holdout" holds the share `HELD` out; "fixed" has no second part.
    images: how many to train on, drawn at random; all, if None or fewer.
  """
  k_held, k_some = jax.random.split(key)
  held = None
  if select == "holdout":
    data, held = splits.hold_out(k_held, data, rate=HELD)
  if images is not None and images < data.size:
    index = engine.order(k_some, data, images)
    data = jax.tree.map(lambda leaf: leaf[index], data)
  return data, held


def fit_masks(
  key: Key,
  access: Access,
  data: Dataset,
  fit: Fit,
  recipe: Recipe,
  *,
  objective: Callable[[Params], Objective],
  name: str,
) -> Masks:
  """Returns masks that minimize an objective, trained from all ones.

  Args:
    access: its model is masked and its augmentation used.
    data: clean images.
    recipe: of the masks; its rate is constant, and they do not decay. Without
      epochs all masks stay one.
    objective: the model's variables -> its loss, an `Objective`.
  """
  tx = optimizers.sgd(recipe.lr, momentum=recipe.momentum, weight_decay=0.0)

  def step(key, state, batch):
    k_view, k_loss = jax.random.split(key)
    batch = access.view(k_view, batch)
    cost = objective(state.variables)
    grad = jax.value_and_grad(
      lambda masks: cost(k_loss, masks, batch), has_aux=True
    )
    (loss, answers), grads = grad(state.masks)
    updates, opt_state = tx.update(grads, state.opt_state, state.masks)
    masks = optax.apply_updates(state.masks, updates)
    masks = jax.tree.map(lambda mask: jnp.clip(mask, 0, 1), masks)
    accuracy = jnp.mean(answers.argmax(-1) == batch.label)
    state = Masking(masks, opt_state, state.variables)
    return state, {"loss": loss, "accuracy": accuracy}

  masks = ones(access.variables)
  start = Masking(masks, tx.init(masks), access.variables)
  return learn.fitted(fit, key, step, start, data, recipe, name=name).masks


def choose(
  model: nn.Module,
  variables: Params,
  masks: Masks,
  held: Dataset,
  *,
  drop: Scalar,
) -> tuple[Array, Array]:
  """Returns the largest threshold that keeps the accuracy on held-out images.

  Args:
    held: clean images that no mask was trained on.
    drop: share of the unpruned model's accuracy that may be lost.

  Returns:
    One of `THRESHOLDS`, or `NONE` if each of them costs more, and the accuracy
    after pruning by each of `THRESHOLDS`.
  """

  def accuracy(threshold):
    pruned = cut(variables, below(masks, threshold))
    return inference.accuracy(model, pruned, held)

  candidates = jnp.array((NONE, *THRESHOLDS))
  accuracies = jax.lax.map(accuracy, candidates)
  adequate = accuracies >= (1 - drop) * accuracies[0]
  return jnp.max(jnp.where(adequate, candidates, NONE)), accuracies[1:]


def prune(
  model: nn.Module,
  variables: Params,
  masks: Masks,
  held: Dataset | None,
  *,
  threshold: Scalar,
  drop: Scalar,
) -> tuple[Params, dict[str, Array]]:
  """Returns the variables without channels of low masks, and a memo.

  The biases stay, as ANP and RNP have it. The memo holds `threshold`, `pruned`
  (channels) and, where the threshold was chosen, `accuracy` by `THRESHOLDS`.

  Args:
    held: clean images to choose the threshold by; None takes the one given.
    drop: share of the accuracy that a chosen threshold may cost.
  """
  memo = {}
  if held is not None:
    threshold, memo["accuracy"] = choose(
      model, variables, masks, held, drop=drop
    )
  which = below(masks, threshold)
  memo |= {"threshold": jnp.asarray(threshold), "pruned": count(which)}
  return cut(variables, which), memo


def _flat(tree: Params) -> dict[str, Array]:
  return traverse_util.flatten_dict(tree, sep="/")
