"""Trains a backdoor back into a model, and measures how soon it is back."""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from bdjax.data import augment
from bdjax.machine import programs
from bdjax.methods.signature import TRAINING, Count, Fraction
from bdjax.training import learn, optimizers
from bdjax.types import POISON, Array, Dataset, Fit, Key, Params, Recipe, View

Retraining = Annotated[
  Recipe, TRAINING.without("schedule").having(epochs=Count, momentum=Fraction)
]


class Relapse(NamedTuple):
  """How soon a backdoor comes back.

  Attributes:
    area: under the curve of success rate by epoch, divided by the epochs; 1 is
      a backdoor that was there from the start.
    epochs_to_90: the first epoch with a success rate of 90 %, 0 before any
      training; None if there is none.
  """

  area: float
  epochs_to_90: int | None


def retrained(
  key: Key,
  variables: Params,
  poisoned: Dataset,
  fit: Fit,
  recipe: Recipe,
  *,
  model: nn.Module,
  view: View = augment.identity,
  name: str,
) -> Params:
  """Returns a model's variables after poison fine-tuning by SGD.

  The caller measures the success rate by epoch: a `fit` returns only the last
  state, but the probe of `loop.host_fit` sees every epoch.

  Args:
    recipe: how the model is trained; its rate stays constant.
  """
  lr, decay = recipe.lr, recipe.weight_decay
  tx = optimizers.sgd(lr, momentum=recipe.momentum, weight_decay=decay)
  init, step = learn.supervised(model, tx, view=view, lr=lambda step: lr)
  start = init(variables)
  return learn.fitted(
    fit, key, step, start, poisoned, recipe, name=name
  ).variables


def drawn(
  key: Key,
  clean: Dataset,
  poisoned: Dataset,
  role: Array,
  *,
  rate: float = 0.02,
  poisons: int = 5,
) -> Dataset:
  """Draws what the retuning attack trains on: clean images and few poisons.

  Args:
    clean: the training set before poisoning.
    poisoned: the training set that planted the backdoor.
    role: [N] of the poisoned set.
    rate: size of the result, as a share of the clean set.
    poisons: how many of its images are poisons; these come last.

  Raises:
    ValueError: there are too few images for so many poisons, or (unless roles
      are traced) too few poisons.
  """
  count = round(rate * clean.size)
  if count <= poisons:
    raise ValueError(
      f"rate is {rate}, but that share of {clean.size} images is {count}, "
      f"which {poisons} poisons leave no room in: raise it or take fewer "
      "poisons."
    )
  available = (role == POISON).sum()
  if not programs.traced(available) and available < poisons:
    raise ValueError(
      f"the retuning attack needs {poisons} poisons, but the training set has "
      f"{int(available)}: take fewer, or another attack's training set."
    )
  k_clean, k_poison = jax.random.split(key)
  order = jax.random.permutation(k_clean, clean.size)[: count - poisons]
  rank = jax.random.uniform(k_poison, role.shape)
  rows = jnp.argsort(jnp.where(role == POISON, rank, jnp.inf))[:poisons]

  def joined(clean, poisoned):
    return jnp.concatenate([clean[order], poisoned[rows]])

  return Dataset(
    joined(clean.image, poisoned.image), joined(clean.label, poisoned.label)
  )


def poisons(poisoned: Dataset, role: Array) -> Dataset:
  """Returns a training set's poisons alone.

  Runs outside of a trace, since their number decides shapes. A model's accuracy
  on them is what Sha et al. draw, if their accuracy on poisons is that of the
  training set.

  Args:
    poisoned: the training set that planted the backdoor.
    role: [N] of that set.

  Raises:
    ValueError: there are none.
  """
  rows = np.flatnonzero(np.asarray(role) == POISON)
  if not rows.size:
    raise ValueError(
      f"none of the {poisoned.size} training images is a poison, so that no "
      "backdoor can be trained back: raise the poison rate, or leave it out."
    )
  return jax.tree.map(lambda x: x[rows], poisoned)


def area(curve: Sequence[float]) -> float:
  """Returns the normalized area under a curve, by trapezoids.

  Args:
    curve: success rates after 0, 1, 2, ... epochs.

  Raises:
    ValueError: the curve has no width, or a value is not a rate.
  """
  rates = _checked(curve)
  if rates.size < 2:
    raise ValueError(
      "a curve of epoch 0 alone has no area: train for an epoch at least."
    )
  return float(np.mean((rates[1:] + rates[:-1]) / 2))


def epochs_to(curve: Sequence[float], level: float = 0.9) -> int | None:
  """Returns the first epoch whose rate reaches a level, None if none does.

  Args:
    curve: success rates after 0, 1, 2, ... epochs.
    level: reached if equalled.

  Raises:
    ValueError: the curve is empty, or a value is not a rate.
  """
  epochs = np.flatnonzero(_checked(curve) >= level)
  return int(epochs[0]) if epochs.size else None


def relapse(curve: Sequence[float]) -> Relapse:
  """Returns both scalars of a curve of success rates, epoch 0 first."""
  return Relapse(area(curve), epochs_to(curve))


def _checked(curve: Sequence[float]) -> np.ndarray:
  rates = np.asarray(curve, np.float64)
  invalid = [rate for rate in rates.tolist() if not 0 <= rate <= 1]
  if not rates.size or invalid:
    raise ValueError(
      f"a curve needs a rate between 0 and 1 for every epoch, but holds "
      f"{invalid[0] if invalid else 'none'}: measure it with triggered images."
    )
  return rates
