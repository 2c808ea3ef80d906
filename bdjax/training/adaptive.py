"""An attacker who knows the defense: each clean turn is that defense itself.

FMN's clean turns rehearse a super-fine-tuning by a rate that resembles its own.
The same for any tuning: a clean turn of E epochs runs the defense, from its
start and for E epochs, on the clean data; a poisoned turn of as many trains on
poisoned data as usual, from what that leaves. So what is planted has outlived
the defense, in miniature, many times. The last turn is a poisoned one: the
attacker has no reason to hand out what the defense has just weakened. All of
this is chosen here: no paper has it.

A defense is a program that trains by `fit` alone, which is how its step is
found: it is run with a `fit` that trains nothing and notes what it is given.
Defenses that are one training of one model on clean images can be rehearsed.
Others cannot: what cuts channels, filters data, trains a teacher first or
measures something on the images.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from bdjax.machine.keys import key_for
from bdjax.training import engine, learn
from bdjax.types import (
  Access,
  Array,
  Batch,
  Dataset,
  Defense,
  Key,
  Metrics,
  Params,
  State,
  Step,
  View,
)

METRICS = ("loss", "accuracy", "lr")  # of both kinds of turns


_WHY = "it is not one training of one model on clean images"


class Unsuited(ValueError):
  """A defense is not one training of one model on clean images."""


@flax.struct.dataclass
class Rehearsal:
  """A victim between poisoned turns and the defense's.

  Attributes:
    victim: as poisoned turns train it.
    start: its variables when the last clean turn began.
    defended: the defense's own state.
    count: int32, steps of clean turns so far.
  """

  victim: learn.TrainState
  start: Params
  defended: State
  count: Array


class Turn(NamedTuple):
  """The defense as a clean turn.

  Attributes:
    defense: for as many epochs, and in batches as large, as the turn has.
    epochs: of the turn.
  """

  defense: Defense
  epochs: int

  def turns(
    self,
    key: Key,
    poisoned: Step,
    state: learn.TrainState,
    data: Dataset,
    *,
    model: nn.Module,
    view: View,
    batch_size: int,
  ) -> tuple[tuple[Step, ...], Rehearsal]:
    """Returns the steps that epochs take turns with, and the state before.

    Clean turns come first, so the data must have its own first, too.

    Args:
      key: of the defense, anew for each turn.
      poisoned: step of poisoned turns.
      state: of the victim.
      data: of one turn; its shapes are read.
      model: the architecture.
      view: augmentation of clean turns.
      batch_size: images of a step.

    Raises:
      Unsuited: the defense is not one training of one model on clean images.
    """
    access = shapes_of(data, model, view)
    length = self.epochs * engine.steps_per_epoch(data.size, batch_size)

    def opened(count, start):
      k_turn = jax.random.fold_in(key_for(key, "defense"), count // length)
      return opening(self.defense, k_turn, access.replace(variables=start))

    def dirty(
      key: Key, state: Rehearsal, batch: Batch
    ) -> tuple[Rehearsal, Metrics]:
      victim, metrics = poisoned(key, state.victim, batch)
      return state.replace(victim=victim), metrics

    def clean(
      key: Key, state: Rehearsal, batch: Batch
    ) -> tuple[Rehearsal, Metrics]:
      begins = state.count % length == 0
      start = chosen(begins, state.victim.variables, state.start)
      step, fresh = opened(state.count, start)
      defended = chosen(begins, fresh, state.defended)
      defended, metrics = step(key, defended, batch)
      (inner,) = learn.classifiers(defended)
      victim = state.victim.replace(variables=inner.variables)
      after = Rehearsal(victim, start, defended, state.count + 1)
      return after, {name: metrics[name] for name in METRICS}

    zero, start = jnp.zeros((), jnp.int32), state.variables
    defended = opened(zero, start)[1]
    first = jax.tree.map(jnp.array, Rehearsal(state, start, defended, zero))
    return (clean,) * self.epochs + (dirty,) * self.epochs, first


def chosen(which: Array, one: State, other: State) -> State:
  """Returns one of two states, by a bool."""
  return jax.tree.map(lambda a, b: jnp.where(which, a, b), one, other)


def shapes_of(data: Dataset, model: nn.Module, view: View) -> Access:
  """Returns what a rehearsed defender has, images as mere shapes.

  So that one who computes on them before the training is refused, and no
  program holds them.
  """
  rows = jax.ShapeDtypeStruct(data.image.shape, data.image.dtype)
  label = jax.ShapeDtypeStruct(data.label.shape, data.label.dtype)
  return Access(None, Dataset(rows, label), model=model, view=view)


def opening(defense: Defense, key: Key, access: Access) -> tuple[Step, State]:
  """Returns a tuning's step, and its state before the first one.

  Args:
    defense: to be rehearsed.
    key: of the defense.
    access: as of `shapes_of`, with the model's variables.

  Raises:
    Unsuited: it is not one training of one model on clean images.
  """
  if defense.needs_train:
    raise Unsuited(_WHY)
  calls: list[tuple[Any, State, Any]] = []

  def fit(key, step, state, data, **how):
    del key, how
    calls.append((step, state, data))
    return state, {}

  try:
    after = defense.defend(key, access, fit).variables
  except ValueError:
    raise
  except Exception as fault:  # it needs images, or what training leaves
    raise Unsuited(_WHY) from fault
  if len(calls) != 1:
    raise Unsuited(_WHY)
  step, state, data = calls[0]
  inner = learn.classifiers(state)
  whole = data is access.clean and not isinstance(step, tuple)
  if not whole or len(inner) != 1 or after is not inner[0].variables:
    raise Unsuited(_WHY)
  return step, state
