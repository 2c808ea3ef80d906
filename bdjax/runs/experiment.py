"""One cell of an experiment: plant -> defend, with explicit keys.

Everything random follows from the cell's key, `jax.random.key(seed)`, and a
purpose's name, so that a cell can be rerun by itself and defenses start from
the same model and the same clean subset.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax

from bdjax.data import splits
from bdjax.machine import programs
from bdjax.machine.keys import key_for
from bdjax.models.parts import heads
from bdjax.runs import evaluate
from bdjax.training import learn
from bdjax.training.engine import Rows
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


def clean_model(key: Key, task: Task, fit: Fit) -> Params:
  """Trains the clean classifier that all attacks of a seed share."""
  task = task.replace(clean=None)
  return learn.clean_classifier(key_for(key, "clean"), task, fit)


def plant(key: Key, attack: Attack, task: Task, fit: Fit) -> Backdoor:
  """Plants a cell's backdoor."""
  if task.clean is None:
    task = task.replace(clean=functools.partial(clean_model, key, task))
  return attack.plant(key_for(key, "plant"), task, fit)


def poisoned(
  key: Key, attack: Attack, task: Task, backdoor: Backdoor
) -> Dataset:
  """Returns the training set of a cell's backdoor, made again.

  Args:
    backdoor: all but its `train` is read.
  """

  def again(key, task, params, role):
    return attack.poisoned(key_for(key, "plant"), task, params, role)

  return programs.jit(again)(key, task, backdoor.params, backdoor.role)


def clean_subset(
  key: Key, train: Dataset, holding: Holding = FIELD_STANDARD
) -> Dataset:
  """Draws what the defender holds; on the host, since its size is static.

  It is drawn from the clean training set whether or not an example hosts a
  poison, as the field's benchmark does.
  """
  return splits.clean_subset(
    key_for(key, "clean subset"),
    train,
    rate=holding.rate,
    balanced=holding.balanced,
  )


def access_to(backdoor: Backdoor, task: Task, clean: Dataset) -> Access:
  """Returns what the defender of a planted model has."""
  return Access(
    variables=backdoor.variables,
    clean=clean,
    train=backdoor.train,
    model=task.model,
    view=task.view,
    recipe=task.recipe,
  )


def adapted(key: Key, access: Access, head: nn.Module) -> Access:
  """Returns the access of a user who puts a new head on a victim's features.

  Filters have nothing to filter: the user's data is not the adversary's.

  Args:
    key: of the head's initialization.
    access: to the victim; its last layer, if any, is dropped.
    head: for the user's classes.
  """
  model = heads.Headed(access.model.clone(num_classes=0), head)
  fresh = learn.init_variables(key, access.clean, model=model)
  fresh_head = {"params": fresh["params"]["head"]}
  variables = heads.on(access.variables, fresh_head)
  return access.replace(model=model, variables=variables, train=None)


def defend(key: Key, defense: Defense, access: Access, fit: Fit) -> Defended:
  """Runs a cell's defense.

  Raises:
    AssertionError: what it trusts is not one bool for each training example.
  """
  state = defense.defend(key_for(key, "defend"), access, fit)
  if state.keep is not None:
    chex.assert_shape(state.keep, access.train.label.shape)
    chex.assert_type(state.keep, bool)
  return state


def score(
  state: Defended,
  access: Access,
  test: Dataset | Rows,
  params: Params,
  *,
  predict: Callable = default_predict,
  **how: Any,
) -> evaluate.Counts:
  """Counts a model's answers on a test set, with a fixed key.

  Args:
    state: the model, repaired or not.
    access: what the defense's `predict` may look at.
    test: clean images with true labels.
    params: the trigger's.
    predict: the defense's.
    **how: further arguments of `evaluate.count`.
  """
  return evaluate.count(
    jax.random.key(0),
    test,
    params,
    predict=lambda key, images: predict(key, images, access, state),
    **how,
  )
