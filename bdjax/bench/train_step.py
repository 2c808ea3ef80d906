"""Training steps: chosen compiler options, stock ones, and PyTorch.

Whole steps of SGD with momentum and weight decay on images that are already on
the device, without augmentation. Ours run as in training, in the scan of an
epoch that is given its state to reuse, so they also shuffle, gather and cast.
PyTorch runs the same architecture channels-last; on a GPU with
torch.compile, and AMP for bfloat16. The share of the device's peak is of its
16-bit peak, whatever the dtype, and counts XLA's own flops, which leave out
products with padding: 2.91 GFLOP per trained image of PreActResNet18 at width
64 on 32 x 32 pixels.
"""

import importlib.util
import statistics
from collections.abc import Callable

import jax
import jax.numpy as jnp

from bdjax.bench import measure
from bdjax.bench.measure import Options, Row
from bdjax.machine import backend
from bdjax.training import engine
from bdjax.training.learn import TrainState
from bdjax.types import Step


def run(options: Options) -> list[Row]:
  """Returns one row per batch size and case."""
  return [row for batch in options.batch for row in _compare(options, batch)]


def _compare(options: Options, batch: int) -> list[Row]:
  rows, cases, state = {}, {}, measure.start(options)
  chosen = backend.compiler_options()
  for name, flags in {"bdjax": chosen, "bdjax, stock options": {}}.items():
    if name == "bdjax" or flags != chosen:
      cases[name], rows[name] = _jax_case(options, state, batch, flags)
  if importlib.util.find_spec("torch") and options.arch == "preact_resnet18":
    from bdjax.bench import torch_peer

    name = f"pytorch {torch_peer.VERSION}"
    cases[name], rows[name] = torch_peer.case(options, batch), {}
  seconds = measure.take_turns(cases, options.samples)
  peer = next((s for n, s in seconds.items() if "pytorch" in n), None)
  return [
    {"case": name, **measure.about(options, batch)}
    | _summary(seconds[name], rows[name], images=batch * options.steps)
    | {"ratio_to_pytorch": peer and measure.ratio(seconds[name], peer)}
    for name in cases
  ]


def _summary(seconds: list[float], row: Row, *, images: int) -> Row:
  summary = measure.speed(seconds, images) | row
  if row:
    per_image = statistics.median(seconds) / images
    flop = summary.pop("flop")
    summary["gflop_per_image"] = flop and flop / 1e9
    summary["utilization"] = measure.utilization(flop, per_image)
  return summary


def _jax_case(
  options: Options, state: TrainState, batch: int, flags: dict[str, str]
) -> tuple[Callable[[], None], Row]:
  step, key = measure.train_step(options), jax.random.key(0)
  data = measure.dataset(options, count=batch * options.steps)
  program, row = measure.compile_program(
    engine.epoch(step, batch_size=batch),
    (key, state, data),
    options=flags,
    donate=(1,),
  )
  now = jax.tree.map(jnp.copy, state)

  def sample():
    nonlocal now
    now, _ = program(key, now, data)
    jax.block_until_ready(now)

  flop = _flop(step, (key, state, measure.first_batch(data)))
  return sample, row | {"flop": flop and flop / data.size}


def _flop(step: Step, args: tuple) -> float | None:
  # Of a single step, since XLA counts a loop's body once.
  return (jax.jit(step).lower(*args).cost_analysis() or {}).get("flops")
