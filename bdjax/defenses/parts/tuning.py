"""Fine-tuning of a suspect on clean data, by whatever rate and optimizer."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import optax

from bdjax.models.parts import heads
from bdjax.training import engine, learn, optimizers, schedules
from bdjax.training.learn import Loss
from bdjax.types import (
  Access,
  Defended,
  Defense,
  Fit,
  Key,
  Params,
  Recipe,
  Schedule,
)

PARTS = ("all", "head")


def stepping(
  access: Access,
  recipe: Recipe,
  *,
  rate: Callable[[int], Schedule] | None = None,
  optimizer: str = "sgd",
) -> tuple[optax.GradientTransformation, Schedule]:
  """Returns the optimizer of training on the clean subset, and its rate.

  Args:
    rate: steps per epoch -> learning rate by step; None for the recipe's.
    optimizer: sgd or adam.
  """
  steps = engine.steps_per_epoch(access.clean.size, recipe.batch_size)
  lr = (rate or schedules.over(recipe))(steps)
  lr = schedules.listed(lr, steps * recipe.epochs)
  make = {"sgd": optimizers.sgd, "adam": optimizers.adam}[optimizer]
  decay = recipe.weight_decay
  return make(lr, momentum=recipe.momentum, weight_decay=decay), lr


def fine_tune(
  key: Key,
  access: Access,
  fit: Fit,
  recipe: Recipe,
  *,
  rate: Callable[[int], Schedule] | None = None,
  optimizer: str = "sgd",
  part: str = "all",
  wrap: Callable[
    [optax.GradientTransformation], optax.GradientTransformation
  ] = lambda tx: tx,
  loss: Loss | None = None,
  name: str,
) -> Params:
  """Returns the suspect's variables after training on the clean subset.

  Args:
    rate: steps per epoch -> learning rate by step; None for the recipe's.
    optimizer: sgd or adam.
    part: all parameters, or those of the head alone; see `head_only`.
    wrap: around the optimizer, such as SAM.
    loss: cross-entropy by default.

  Raises:
    ValueError: only the head is to be trained, but the model has none apart.
  """
  tx, lr = stepping(access, recipe, rate=rate, optimizer=optimizer)
  tx, model = wrap(tx), access.model
  if part == "head":
    model, tx = head_only(model, tx)
  init, step = learn.supervised(model, tx, view=access.view, loss=loss, lr=lr)
  start = init(access.variables)
  return learn.fitted(
    fit, key, step, start, access.clean, recipe, name=name
  ).variables


def defense(
  recipe: Recipe, *, scarce: str | None = None, **how: Any
) -> Defense:
  """Returns the defense that fine-tunes.

  Args:
    recipe: of training on the clean subset.
    scarce: see `Defense`.
    **how: further arguments of `fine_tune`.
  """

  def defend(key: Key, access: Access, fit: Fit) -> Defended:
    return Defended(fine_tune(key, access, fit, recipe, **how))

  return Defense(defend, scarce=scarce)


def head_only(
  model: nn.Module, tx: optax.GradientTransformation
) -> tuple[nn.Module, optax.GradientTransformation]:
  """Returns a model whose backbone is a constant, and the optimizer for it.

  Raises:
    ValueError: the model has no head apart.
  """
  if not isinstance(model, heads.Headed):
    raise ValueError(
      f"a {type(model).__name__} has no head apart, so that alone cannot be "
      "tuned: use part=all, or the scenario transfer or encoder."
    )

  def in_head(params):
    return {
      name: jax.tree.map(lambda _, name=name: name == "head", tree)
      for name, tree in params.items()
    }

  return model.clone(frozen=True), optimizers.only(tx, in_head)
