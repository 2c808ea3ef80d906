"""What training under an attack costs, in clean training steps.

Each attack is planted without training: a `fit` that only takes notes records
the steps that the attack would train with, which are then timed one by one in a
compiled epoch beside the plain step of the same classifier. Attacks that poison
data train with exactly the plain step.
"""

from typing import Any

import jax

from bdjax.bench import measure
from bdjax.bench.measure import Case, Options, Row
from bdjax.data import augment
from bdjax.methods import registry, signature
from bdjax.training import engine, learn, optimizers
from bdjax.types import Attack, Recipe, Step, Task

_CLEAN = "clean step"
_SHORT = {"rounds": 1, "passes": 1, "images": 8}  # optimized triggers
_Stage = tuple[str, Step, Any]  # name, step, state


def run(options: Options) -> list[Row]:
  """Returns one row per batch size, attack and step that it trains with."""
  names = options.attacks.split(",") if options.attacks else None
  return [
    row
    for batch in options.batch
    for name in names or registry.names("attacks")
    for row in _measure(options, name, batch)
  ]


def _measure(options: Options, name: str, batch: int) -> list[Row]:
  task = _task(options, batch)
  stages = _stages(_attack(name, task.train.size), task)
  if not stages:
    return []
  cases = {_CLEAN: _case(_clean_stage(task), task, batch)}
  for label, step, state in stages:
    cases[f"{name}: {label}"] = _case((label, step, state), task, batch)
  rows = measure.compare(
    options,
    batch,
    cases,
    images=task.train.size,
    base=_CLEAN,
    dearer="cost_in_clean_steps",
  )
  return [row for row in rows if row["case"] != _CLEAN]


def _task(options: Options, batch: int) -> Task:
  data = measure.dataset(options, count=batch * options.steps)
  recipe = Recipe(epochs=4, batch_size=batch)
  model = measure.model(options)
  return Task(data, model, recipe, view=augment.standard())


def _attack(name: str, size: int) -> Attack:
  make = registry.get("attacks", name)
  schema = signature.arguments(make)
  given = {k: v for k, v in _SHORT.items() if k in schema}
  if "rate" in schema and schema["rate"].default * size < 1:
    given["rate"] = 0.05  # a rate for large data would poison nothing here
  return make(**given)


def _stages(attack: Attack, task: Task) -> list[_Stage]:
  stages: list[_Stage] = []

  def note(key, step, state, data, *, name, **how):
    del key, how
    steps = engine.turns(step, data).steps
    for i, step in enumerate(steps):
      label = f"{name}, turn {i + 1}" if steps[1:] else name
      stages.append((label, step, state))
    return state, {}

  clean = learn.init_variables(jax.random.key(3), task.train, model=task.model)
  task = task.replace(clean=lambda fit: clean)
  attack.plant(jax.random.key(0), task, note)
  return stages


def _clean_stage(task: Task) -> _Stage:
  start, step = learn.supervised(
    task.model, optimizers.sgd(0.01), view=task.view
  )
  key = jax.random.key(3)
  variables = learn.init_variables(key, task.train, model=task.model)
  return _CLEAN, step, start(variables)


def _case(stage: _Stage, task: Task, batch: int) -> Case:
  _, step, state = stage
  epoch = engine.epoch(step, batch_size=batch)
  return measure.case(epoch, (jax.random.key(0), state, task.train))
