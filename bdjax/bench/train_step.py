"""Training steps alone: chosen compiler options, stock ones, and PyTorch.

Whole steps of SGD with momentum and weight decay on images that are already on
the device. PyTorch runs the same architecture channels-last; on a GPU with
torch.compile, and AMP for bfloat16. The share of the device's peak is of its
16-bit peak, whatever the dtype, and counts XLA's own flops, which leave out
products with padding: 2.91 GFLOP per trained image of PreActResNet18 at width
64 on 32 x 32 pixels.
"""

import importlib.util
import statistics
from collections.abc import Callable

import jax

from bdjax import backend
from bdjax.bench import measure
from bdjax.bench.measure import Options, Row
from bdjax.learn import TrainState


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
  about = {"arch": options.arch, "width": options.width, "batch": batch}
  return [
    {"case": name, **about, "dtype": options.dtype}
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
  step = measure.train_step(options)
  data = measure.first_batch(measure.dataset(options, count=batch))
  key = jax.random.key(0)
  program, row = measure.compile_program(
    step, (key, state, data), options=flags
  )

  def sample():
    now = state
    for _ in range(options.steps):
      now, _ = program(key, now, data)
    jax.block_until_ready(now)

  flop = row["flop"] and row["flop"] / batch
  return sample, row | {"flop": flop}
