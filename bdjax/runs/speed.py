"""How fast this machine trains a plan's model: a few steps, measured."""

import time
from typing import NamedTuple

import jax
from jax.sharding import Mesh

from bdjax.machine import backend
from bdjax.machine import mesh as meshes
from bdjax.runs import plans, widths, work
from bdjax.training import engine, sweep
from bdjax.training.trial import seconds, trial

_STEPS = 3  # of plain training, in a sample
_SAMPLES = 3  # of which the fastest counts


class Speed(NamedTuple):
  """What a machine does with a model at one batch size.

  Attributes:
    flops: floating-point operations per second, as `work` counts them.
    compile_seconds: for the program that was measured.
    temp_bytes: what it needs on a device beside data and weights.
  """

  flops: float
  compile_seconds: float
  temp_bytes: int


def measure(
  plan: plans.Plan, batch_size: int, mesh: Mesh | None = None
) -> Speed:
  """Measures plain training of a plan's model.

  Args:
    mesh: devices that share a cell's batches, or members of a sweep.
  """
  key, state, step, data = trial(
    plan.model.built, plan.info.shape, batch_size=batch_size, steps=_STEPS
  )
  members = 1
  begun = time.perf_counter()
  if plan.together:
    mesh = meshes.make()
    members = meshes.members(mesh) * widths.chosen(plan)
    run = engine.epoch(step, batch_size=batch_size)
    stacked = sweep.stack([(key, state)] * members, mesh, size=members)
    shared = meshes.place(data, meshes.everywhere(mesh))
    program = sweep.program(lambda d, a: run(*a, d), mesh, shared, stacked)
    args = shared, stacked
  else:
    args = (key, state, data)
    if mesh is not None:
      mesh = meshes.dividing(mesh, batch_size)
      args = meshes.place(args, meshes.everywhere(mesh))
    run = engine.epoch(step, batch_size=batch_size, mesh=mesh)
    lowered = jax.jit(run).lower(*args)
    program = lowered.compile(compiler_options=backend.compiler_options())
  compiling = time.perf_counter() - begun
  fastest = min(seconds(program, *args) for _ in range(_SAMPLES))
  flop = members * _STEPS * work.step_flop(step, state, data, batch_size)
  temp = program.memory_analysis().temp_size_in_bytes
  return Speed(flop / fastest, compiling, temp)
