"""How fast this machine trains a plan's model: a few steps, measured."""

import time
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from jax.sharding import Mesh

from bdjax.machine import backend
from bdjax.machine import mesh as meshes
from bdjax.runs import plans, widths, work
from bdjax.training import engine, sweep
from bdjax.training.trial import Trial, seconds, trial

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
  if not plan.together:
    return alone(plan.model.built, plan.info.shape, batch_size, mesh)
  one = trial(
    plan.model.built, plan.info.shape, batch_size=batch_size, steps=_STEPS
  )
  begun = time.perf_counter()
  mesh = meshes.make()
  members = meshes.members(mesh) * widths.chosen(plan)
  run = engine.epoch(one.step, batch_size=batch_size)
  stacked = sweep.stack([(one.key, one.state)] * members, mesh, size=members)
  shared = meshes.place(one.data, meshes.everywhere(mesh))
  program = sweep.program(lambda d, a: run(*a, d), mesh, shared, stacked)
  compiling = time.perf_counter() - begun
  return _timed(program, (shared, stacked), one, members, compiling)


def alone(
  model: nn.Module,
  shape: tuple[int, ...],
  batch_size: int,
  mesh: Mesh | None = None,
) -> Speed:
  """Measures plain training of one model.

  Args:
    model: its architecture.
    shape: H, W and C of its images.
    batch_size: images of a step.
    mesh: devices that share batches; None for one.
  """
  one = trial(model, shape, batch_size=batch_size, steps=_STEPS)
  begun = time.perf_counter()
  args = (one.key, one.state, one.data)
  if mesh is not None:
    mesh = meshes.dividing(mesh, batch_size)
    args = meshes.place(args, meshes.everywhere(mesh))
  run = engine.epoch(one.step, batch_size=batch_size, mesh=mesh)
  lowered = jax.jit(run).lower(*args)
  program = lowered.compile(compiler_options=backend.compiler_options())
  compiling = time.perf_counter() - begun
  return _timed(program, args, one, 1, compiling)


def _timed(
  program: Any, args: tuple, one: Trial, members: int, compiling: float
) -> Speed:
  """Returns the speed of a program that trains members on a trial's data."""
  fastest = min(seconds(program, *args) for _ in range(_SAMPLES))
  batch_size = one.data.size // _STEPS
  once = work.step_flop(one.step, one.state, one.data, batch_size)
  temp = program.memory_analysis().temp_size_in_bytes
  return Speed(members * _STEPS * once / fastest, compiling, temp)
