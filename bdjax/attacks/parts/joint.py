"""Training control: attacks that put the trigger in inside the training step.

The adversary trains the victim itself, often together with a partner (a
generator network, a trigger pattern). Under an interleaving regime every second
epoch is an ordinary supervised epoch of the victim and leaves the partner
alone.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.struct
import optax

from bdjax.training import budget, learn
from bdjax.training.learn import TrainState
from bdjax.types import (
  Batch,
  Fit,
  Key,
  Metrics,
  Params,
  Regime,
  Schedule,
  State,
  Step,
  Task,
)


@flax.struct.dataclass
class Joint:
  """A victim and its partner, both in training."""

  victim: TrainState
  partner: TrainState


class Training(NamedTuple):
  """How a victim is trained under a task's recipe and regime.

  Attributes:
    tx: its optimizer, SGD at the rate `lr` or what the regime makes of it.
    lr: step of the victim -> learning rate.
    epochs: in all, clean ones included.
    start: variables -> state.
    step: an ordinary supervised step of the victim, augmentation included.
  """

  tx: optax.GradientTransformation
  lr: Schedule
  epochs: int
  start: Callable[[Params], TrainState]
  step: Step


def training(
  task: Task, *, epochs: int | None = None, regime: Regime | None = None
) -> Training:
  """Returns how the task's victim is trained.

  Args:
    epochs: of the recipe, before the regime adds its own; None for all.
    regime: None for the task's.

  Raises:
    ValueError: the regime trains the victim in a way of its own.
  """
  regime = task.regime if regime is None else regime
  recipe = task.recipe
  recipe = recipe if epochs is None else recipe.replace(epochs=epochs)
  if budget.apart(regime):
    raise ValueError(
      "this attack trains its trigger with the victim, but the regime trains "
      "the victim in a way of its own: use another than sbl and adaptive."
    )
  tx, lr = budget.stepping(recipe, regime, size=task.train.size)
  start, step = learn.supervised(task.model, tx, view=task.view, lr=lr)
  planned = budget.planned_epochs(recipe, regime)
  return Training(tx, lr, planned, start, step)


def stage(task: Task, name: str, epochs: int, remedy: str) -> Training:
  """Returns how the task's victim is trained in a stage of several.

  Args:
    task: its regime is the stage's.
    name: of the stage, for an error: lira's stage 2, say.
    epochs: those of the recipe that it has, before the regime adds its own.
    remedy: the argument that decides them: lira.stage1, say.

  Raises:
    ValueError: they do not fill the regime's turns.
  """
  try:
    return training(task, epochs=epochs)
  except budget.Unfilled as fault:
    raise ValueError(
      f"train.epochs is {task.recipe.epochs}, of which {name} has {epochs}, no "
      f"multiple of {fault.turns}: change train.epochs, {remedy} or the "
      "regime's turn."
    ) from fault


def fitted(
  fit: Fit,
  key: Key,
  task: Task,
  steps: Step | tuple[Step, ...],
  state: State,
  *,
  epochs: int,
  name: str,
  params: Callable[[State], Params] | None = None,
) -> State:
  """Returns the state after epochs on a task's data, in its recipe's batches.

  Arguments are those of `Fit`.
  """
  how = {"epochs": epochs, "batch_size": task.recipe.batch_size, "name": name}
  return fit(key, steps, state, task.train, **how, params=params)[0]


def turns(joint: Step, plain: Step, regime: Regime) -> tuple[Step, ...]:
  """Returns the steps that epochs take turns with.

  Args:
    joint: a step on a `Joint` state, with the metrics of `learn.report`.
    plain: the supervised step of the victim, for clean epochs.
  """

  def clean(key: Key, state: State, batch: Batch) -> tuple[State, Metrics]:
    victim, metrics = plain(key, state.victim, batch)
    return state.replace(victim=victim), metrics

  return regime.turns(joint, clean)
