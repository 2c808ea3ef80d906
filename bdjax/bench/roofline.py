"""What limits a training step: arithmetic, memory, or neither.

In the same turns as the step, a product of two square matrices shows how many
operations a second the device does at best, and a sum of two long arrays how
many bytes it moves. A step's share of the first counts its products
(`bdjax.runs.work`), of the second the bytes that XLA says its compiled program
touches, caches not considered, so that share may exceed 1. `intensity` is their
quotient; a step far below both shares is limited by something else, such as
launches, small layers or layout.
"""

import statistics

import jax
import jax.numpy as jnp

from bdjax.bench import measure
from bdjax.bench.measure import Options, Row
from bdjax.machine import backend
from bdjax.runs import work

_SIDE = 2048  # of the matrices
_LONG = 2**25  # numbers of 4 bytes: beyond any cache
_OFTEN = 64  # times each in one program, where it takes less than a millisecond


def run(options: Options) -> list[Row]:
  """Returns a row per batch size and kind of pass."""
  return [row for batch in options.batch for row in _compare(options, batch)]


def _compare(options: Options, batch: int) -> list[Row]:
  state, key = measure.start(options), jax.random.key(0)
  data = measure.dataset(options, count=batch)
  step, net = measure.train_step(options), measure.model(options)
  pixels = measure.first_batch(data)
  square = jnp.ones((_SIDE, _SIDE), options.dtype)
  long = jnp.ones(_LONG, jnp.float32)
  often = 1 if jax.default_backend() == "cpu" else _OFTEN
  programs = {
    "training step": (step, (key, state, pixels)),
    "forward pass": (
      lambda variables, image: net.apply(variables, image)[0],
      (state.variables, pixels.image),
    ),
    "product": (_repeated(jnp.matmul, often), (square / _SIDE, square)),
    "sum": (_repeated(jnp.add, often), (long, long)),
  }
  cases = {
    name: _compiled(function, args)
    for name, (function, args) in programs.items()
  }
  seconds = measure.take_turns(
    {name: call for name, (call, _) in cases.items()}, options.samples
  )
  best = often * 2 * _SIDE**3 / statistics.median(seconds["product"])
  moved = often * 3 * 4 * _LONG / statistics.median(seconds["sum"])
  about = measure.about(options, batch)
  about |= {"matmul_gflops": best / 1e9, "copy_gbytes": moved / 1e9}
  rows = []
  for name in list(programs)[:2]:
    flop, touched = cases[name][1]
    rows.append(
      {"case": name, **about}
      | measure.speed(seconds[name], batch)
      | _shares(flop, touched, statistics.median(seconds[name]), best, moved)
    )
  return rows


def _repeated(function, often):
  """Returns what does it again and again in one program: x = function(a, x)."""

  if often == 1:
    return function

  def all_of_it(a, x):
    return jax.lax.fori_loop(0, often, lambda _, x: function(a, x), x)

  return all_of_it


def _compiled(function, args):
  lowered = jax.jit(function).lower(*args)
  program = lowered.compile(compiler_options=backend.compiler_options())
  touched = (program.cost_analysis() or {}).get("bytes accessed")
  flop = work.flop(work.needed(jax.make_jaxpr(function)(*args).jaxpr))
  return lambda: jax.block_until_ready(program(*args)), (flop, touched)


def _shares(
  flop: float, touched: float | None, seconds: float, best: float, moved: float
) -> Row:
  row = {"gflop_per_second": flop / seconds / 1e9}
  row["share_of_matmul"] = flop / seconds / best
  if touched:
    row["intensity"] = flop / touched
    row["share_of_copy"] = touched / seconds / moved
  return row
