"""One cell of an experiment: plant -> defend, with explicit keys.

Everything random follows from the cell's seed and a purpose's name, so that a
cell can be rerun by itself and defenses start from the same model and the same
clean subset.
"""

import functools
import zlib
from collections.abc import Callable
from typing import NamedTuple

import jax

from bdjax import evaluate, metrics
from bdjax.data import splits
from bdjax.types import (
  Access,
  Attack,
  Backdoor,
  Dataset,
  Defended,
  Defense,
  Fit,
  Key,
  Params,
  Task,
  default_predict,
)


class Holding(NamedTuple):
  """What share of the clean training set the defender holds."""

  rate: float = 0.05
  balanced: bool = False


FIELD_STANDARD = Holding()


def key_for(seed: int, purpose: str) -> Key:
  """Returns the key of one purpose under a seed."""
  return jax.random.fold_in(
    jax.random.key(seed), zlib.crc32(purpose.encode()) & 0x7FFFFFFF
  )


def plant(seed: int, attack: Attack, task: Task, fit: Fit) -> Backdoor:
  """Plants the backdoor of a seed."""
  return attack.plant(key_for(seed, "plant"), task, fit)


def access_to(
  seed: int, backdoor: Backdoor, task: Task, holding: Holding
) -> Access:
  """Returns what the defender of a seed's model has.

  The clean subset is drawn from the clean training set whether or not an
  example hosts a poison, as the field's benchmark does.
  """
  clean = splits.clean_subset(
    key_for(seed, "clean subset"),
    task.train,
    rate=holding.rate,
    balanced=holding.balanced,
  )
  return Access(
    variables=backdoor.variables,
    clean=clean,
    train=backdoor.train,
    model=task.model,
    view=task.view,
    recipe=task.recipe,
  )


def defend(seed: int, defense: Defense, access: Access, fit: Fit) -> Defended:
  """Runs a defense on a seed's model."""
  return defense.defend(key_for(seed, "defend"), access, fit)


def score(
  state: Defended,
  access: Access,
  test: Dataset,
  params: Params,
  *,
  attack: Attack,
  predict: Callable = default_predict,
  batch_size: int,
) -> evaluate.Counts:
  """Counts a model's answers on a test set, with a fixed key.

  Args:
    state: the model, repaired or not.
    access: what the defense's `predict` may look at.
    test: clean images with true labels.
    params: the trigger's.
    attack: its trigger and target.
    predict: the defense's.
    batch_size: images per step.
  """
  return evaluate.count(
    jax.random.key(0),
    test,
    params,
    attack=attack,
    predict=lambda key, images: predict(key, images, access, state),
    batch_size=batch_size,
  )


def run(
  seed: int,
  attack: Attack,
  defense: Defense,
  task: Task,
  test: Dataset,
  fit: Fit,
  *,
  holding: Holding = FIELD_STANDARD,
  batch_size: int = 500,
) -> tuple[evaluate.Counts, evaluate.Counts]:
  """Returns a whole cell's counts, before and after, as one pure function."""
  backdoor = plant(seed, attack, task, fit)
  access = access_to(seed, backdoor, task, holding)
  defended = defend(seed, defense, access, fit)
  scored = functools.partial(
    score,
    access=access,
    test=test,
    params=backdoor.params,
    attack=attack,
    batch_size=batch_size,
  )
  before = scored(Defended(backdoor.variables))
  return before, scored(defended, predict=defense.predict)


def as_rates(counts: evaluate.Counts) -> dict[str, float]:
  """Returns counts' rates as plain numbers."""
  return metrics.rates({k: int(v) for k, v in counts.items()})
