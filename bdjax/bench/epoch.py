"""Epochs on the device: one scan against a loop of steps, and augmentation.

The loop calls one compiled step per batch, which gathers its own images. Ratios
are to that loop without augmentation, so that an epoch that costs nothing extra
has ratio 1.
"""

import jax

from bdjax.bench import measure
from bdjax.bench.measure import Case, Options, Row
from bdjax.data import augment
from bdjax.machine import backend
from bdjax.training import engine
from bdjax.training.learn import TrainState
from bdjax.types import View

_LOOP = "loop of steps"


def run(options: Options) -> list[Row]:
  """Returns one row per batch size and case."""
  return [row for batch in options.batch for row in _compare(options, batch)]


def _compare(options: Options, batch: int) -> list[Row]:
  views = {
    "epoch": augment.identity,
    "epoch, crop and flip": augment.standard(),
  }
  state = measure.start(options)
  cases = {_LOOP: _loop_case(options, state, batch)}
  for name, view in views.items():
    cases[name] = _epoch_case(options, state, batch, view)
  return measure.compare(
    options,
    batch,
    cases,
    images=batch * options.steps,
    base=_LOOP,
    faster="ratio_to_loop",
  )


def _loop_case(options: Options, state: TrainState, batch: int) -> Case:
  step = measure.train_step(options)
  data = measure.dataset(options, count=batch * options.steps)
  order = engine.order(jax.random.key(2), data, data.size)
  batches = list(order.reshape(options.steps, batch))

  def one(key, state, data, index):
    return step(key, state, engine.take(data, index))

  key = jax.random.key(0)
  program, row = measure.compile_program(
    one, (key, state, data, batches[0]), options=backend.compiler_options()
  )

  def sample():
    now = state
    for index in batches:
      now, _ = program(key, now, data, index)
    jax.block_until_ready(now)

  return sample, row


def _epoch_case(
  options: Options, state: TrainState, batch: int, view: View
) -> Case:
  step = measure.train_step(options, view=view)
  data = measure.dataset(options, count=batch * options.steps)
  epoch = engine.epoch(step, batch_size=batch)
  return measure.case(epoch, (jax.random.key(0), state, data))
