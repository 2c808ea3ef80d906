"""What a cell's adversary knows and has, and what the model's user does."""

import functools

import jax
import jax.numpy as jnp

from bdjax import data
from bdjax.data import augment
from bdjax.runs import experiment, plans
from bdjax.runs.cells import Cell
from bdjax.runs.experiment import Holding
from bdjax.training import loop
from bdjax.types import (
  Access,
  Array,
  Backdoor,
  Dataset,
  Fit,
  Key,
  Recipe,
  Task,
  View,
)


def adversary(plan: plans.Plan, cell: Cell) -> Task:
  """Returns what a cell's adversary has."""
  return Task(
    train=plan.train,
    model=plan.model.built,
    recipe=numbers(plan.recipe),
    regime=cell.regime.built,
    view=view(plan.info),
    examples=plan.user.test if plan.encoder else None,
  )


def traced(plan: plans.Plan, cell: Cell) -> tuple[Task, list[Fit]]:
  """Returns a cell's adversary to trace, and who asks for a clean victim.

  The list is filled while an attack is traced, and stays empty if it does not
  start from such a victim.
  """
  task, asking = adversary(plan, cell), []

  def clean(fit):
    asking.append(fit)
    return plan.clean_victim(cell.key, task, loop.scan_fit)

  return task.replace(clean=clean), asking


def numbers(recipe: Recipe) -> Recipe:
  """Returns a recipe whose numbers are arrays; see `signature.arrays`."""
  return jax.tree.map(lambda x: jnp.asarray(float(x)), recipe)


def user(plan: plans.Plan, cell: Cell, backdoor: Backdoor) -> Access:
  """Returns what the user of a cell's planted model has, and tunes."""
  clean = experiment.clean_subset(
    cell.key, plan.user.train, cell.defense.holding
  )
  access = experiment.access_to(backdoor, adversary(plan, cell), clean)
  access = access.replace(view=view(plan.user.info))
  return plan.access(experiment.key_for(cell.key, "head"), access, tuned=True)


def planted(plan: plans.Plan, cell: Cell, backdoor: Backdoor) -> Access:
  """Returns what a cell's planted model is scored with, as it is found."""
  access = Access(backdoor.variables, plan.user.train, model=plan.model.built)
  return plan.access(experiment.key_for(cell.key, "look"), access, tuned=False)


def tuned(plan: plans.Plan, cell: Cell) -> Array:
  """Returns which training images a cell's defender trains on, [N] bool."""
  if cell.defense is None or not cell.defense.built.tunes:
    return jnp.zeros(plan.train.size, bool)
  return _held(plan, cell.key, cell.defense.holding)


def shadow(plan: plans.Plan, cell: Cell) -> Task:
  """Returns what the shadow model of a cell's seed is trained on."""
  half = jnp.flatnonzero(shadowed(plan, cell))
  return adversary(plan, cell).replace(
    train=jax.tree.map(lambda x: x[half], plan.train)
  )


def shadowed(plan: plans.Plan, cell: Cell) -> Array:
  """Returns which half of the training images `shadow` takes, [N] bool."""
  key = experiment.key_for(cell.key, "shadow half")
  return _held(plan, key, Holding(0.5))


def _held(plan: plans.Plan, key: Key, holding: Holding) -> Array:
  places = Dataset(jnp.arange(plan.train.size), plan.train.label)
  held = experiment.clean_subset(key, places, holding).image
  return jnp.zeros(plan.train.size, bool).at[held].set(True)


def view(info: data.Info) -> View:
  """Returns the standard augmentation of a dataset."""
  return _standard(info.crop, info.flip)


@functools.cache  # a program compiled for one view is refused another
def _standard(padding: int, mirror: bool) -> View:
  return augment.standard(padding=padding, mirror=mirror)
