"""Epochs on the device: one scan against a loop of steps, and augmentation.

The loop calls one compiled step per batch, which gathers its own images. Ratios
are to that loop without augmentation, so that an epoch that costs nothing extra
has ratio 1.
"""

from collections.abc import Callable

import jax

from bdjax import augment, backend, loop
from bdjax.bench import measure
from bdjax.bench.measure import Options, Row
from bdjax.learn import TrainState
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
  made = {_LOOP: _loop_case(options, state, batch)}
  for name, view in views.items():
    made[name] = _epoch_case(options, state, batch, view)
  cases = {name: case for name, (case, _) in made.items()}
  seconds = measure.take_turns(cases, options.samples)
  about = {"arch": options.arch, "width": options.width, "batch": batch}
  return [
    {"case": name, **about, "dtype": options.dtype, **row}
    | measure.speed(seconds[name], batch * options.steps)
    | {"ratio_to_loop": measure.ratio(seconds[name], seconds[_LOOP])}
    for name, (_, row) in made.items()
  ]


def _loop_case(
  options: Options, state: TrainState, batch: int
) -> tuple[Callable[[], None], Row]:
  step = measure.train_step(options)
  data = measure.dataset(options, count=batch * options.steps)
  order = loop.order(jax.random.key(2), data, data.size)
  batches = list(order.reshape(options.steps, batch))

  def one(key, state, data, index):
    return step(key, state, loop.take(data, index))

  key = jax.random.key(0)
  program, row = measure.compile_program(
    one, (key, state, data, batches[0]), options=backend.compiler_options()
  )

  def sample():
    now = state
    for index in batches:
      now, _ = program(key, now, data, index)
    jax.block_until_ready(now)

  return sample, _without_flop(row)


def _epoch_case(
  options: Options, state: TrainState, batch: int, view: View
) -> tuple[Callable[[], None], Row]:
  step = measure.train_step(options, view=view)
  data = measure.dataset(options, count=batch * options.steps)
  args = (jax.random.key(0), state, data)
  program, row = measure.compile_program(
    loop.epoch(step, batch_size=batch),
    args,
    options=backend.compiler_options(),
  )
  return lambda: jax.block_until_ready(program(*args)), _without_flop(row)


def _without_flop(row: Row) -> Row:
  # XLA counts a loop's body once, so a scan's figure would mean nothing.
  return {k: v for k, v in row.items() if k != "flop"}
