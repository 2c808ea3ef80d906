"""How many members a device should train at once: measured, once, and kept.

A vmap over members turns each convolution into a grouped one. Whether that is
faster than one member after the other depends on model, batch and device, so a
few training steps of 1, 2, 4, ... members are timed until twice as many no
longer pay. The answer is kept in a file per machine.
"""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp

from bdjax.machine import backend, notes, storage
from bdjax.runs import plans
from bdjax.training import engine, sweep
from bdjax.training.trial import seconds, trial

WIDEST = 16
WORTH = 1.05  # less of a gain does not pay for the memory
_STEPS = 2


def chosen(plan: plans.Plan) -> int:
  """Returns the plan's own width, the one kept for its like, or a new one."""
  width = plan.config["sweep"]["width"]
  if width:
    return width
  key, file = _key(plan), storage.cache("widths.json")
  measured = _kept(file)
  if not isinstance(measured.get(key), int):
    measured[key] = best(plan)
    text = json.dumps(measured, indent=2) + "\n"
    write = functools.partial(storage.write, file, text)
    notes.keep("how many members train at once", file.parent, write)
  return measured[key]


def _kept(file: Path) -> dict[str, int]:
  """Returns the widths that were measured before, none if they are damaged."""
  try:
    measured = json.loads(file.read_text())
  except (OSError, ValueError):
    return {}
  return measured if isinstance(measured, dict) else {}


def best(plan: plans.Plan) -> int:
  """Returns the width with the most training steps per second."""
  width, speed = 1, rate(plan, 1)
  while width < WIDEST:
    wider = rate(plan, 2 * width)
    if wider < WORTH * speed:
      break
    width, speed = 2 * width, wider
  return width


def rate(plan: plans.Plan, width: int) -> float:
  """Returns how many members' training steps a device does per second."""
  batch = plan.recipe.batch_size
  key, state, step, data = trial(
    plan.model.built, plan.info.shape, batch_size=batch, steps=_STEPS
  )
  epoch = engine.epoch(step, batch_size=batch)
  members = sweep.of_one_device(
    lambda data, inputs: epoch(*inputs, data), jax.default_backend()
  )
  inputs = jax.tree.map(lambda x: jnp.stack([x] * width), (key, state))
  lowered = jax.jit(members).lower(data, inputs)
  run = lowered.compile(compiler_options=backend.compiler_options())
  seconds(run, data, inputs)  # the first call also loads the program
  return width * _STEPS / seconds(run, data, inputs)


def _key(plan: plans.Plan) -> str:
  what = [plan.model.label, plan.model.args, plan.recipe.batch_size]
  where = [jax.default_backend(), jax.devices()[0].device_kind]
  return plans.digest([what, where, plan.info.shape, jax.__version__])
