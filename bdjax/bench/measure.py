"""What the benchmarks share: options, turns, compile times."""

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from bdjax.data import augment
from bdjax.machine import backend
from bdjax.methods import registry
from bdjax.training import learn, trial
from bdjax.types import Batch, Dataset, Step, View

Row = dict[str, Any]
Case = tuple[Callable[[], object], Row]  # what is timed, and of compiling it


class Options(NamedTuple):
  """What is measured, and how long.

  Attributes:
    arch: name of a file in bdjax/models.
    width: its channels.
    batch: batch sizes.
    dtype: what the model computes in.
    steps: training steps in a sample.
    samples: samples of each case.
    size: height and width of the images.
    attacks: for attack_step, by name with commas between; empty for all.
    widest: for sweep_width, the most members at once.
    images: for job, that are trained on.
    epochs: for job, of planting, and of each defense.
  """

  arch: str = "preact_resnet18"
  width: int = 64
  batch: tuple[int, ...] = (64, 128)
  dtype: str = "float32"
  steps: int = 4
  samples: int = 5
  size: int = 32
  attacks: str = ""
  widest: int = 4
  images: int = 2_000
  epochs: int = 5


class Program(NamedTuple):
  """A compiled function and what compiling it took."""

  call: Callable[..., Any]
  row: Row


def take_turns(
  cases: dict[str, Callable[[], object]], samples: int
) -> dict[str, list[float]]:
  """Returns the seconds of each case's calls, the cases taking turns.

  Each case is called once beforehand. A case must wait for its own result.
  """
  for case in cases.values():
    case()
  seconds = {name: [] for name in cases}
  for _ in range(samples):
    for name, case in cases.items():
      seconds[name].append(trial.seconds(case))
  return seconds


def speed(seconds: list[float], images: int) -> Row:
  """Returns median, slowest and fastest images per second of one case."""
  return {
    "images_per_second": images / statistics.median(seconds),
    "slowest": images / max(seconds),
    "fastest": images / min(seconds),
  }


def ratio(seconds: list[float], others: list[float]) -> float:
  """Returns how many times as fast as the other, the median over turns."""
  pairs = zip(seconds, others, strict=True)
  return statistics.median(other / ours for ours, other in pairs)


def compile_program(
  function: Callable[..., Any],
  args: tuple,
  *,
  options: dict[str, str],
  donate: tuple[int, ...] = (),
) -> Program:
  """Compiles a function, timing trace, lowering and compiler apart.

  With JAX's persistent compilation cache set, a second run times reading it.
  """
  fresh = jax.jit(lambda *args: function(*args), donate_argnums=donate)
  start = time.perf_counter()
  traced = fresh.trace(*args)
  traced_at = time.perf_counter()
  lowered = traced.lower()
  lowered_at = time.perf_counter()
  call = lowered.compile(compiler_options=options)
  row = {
    "trace_seconds": traced_at - start,
    "lower_seconds": lowered_at - traced_at,
    "compile_seconds": time.perf_counter() - lowered_at,
    "temp_mib": call.memory_analysis().temp_size_in_bytes / 2**20,
  }
  return Program(call, row)


def case(function: Callable[..., Any], args: tuple) -> Case:
  """Returns the case of calling a function, compiled as in training."""
  program, row = compile_program(
    function, args, options=backend.compiler_options()
  )
  return lambda: jax.block_until_ready(program(*args)), row


def about(options: Options, batch: int) -> Row:
  """Returns the columns that say what was measured."""
  names = ("arch", "width", "dtype")
  return {name: getattr(options, name) for name in names} | {"batch": batch}


def compare(
  options: Options,
  batch: int,
  cases: dict[str, Case],
  *,
  images: int,
  base: str,
  faster: str = "",
  dearer: str = "",
) -> list[Row]:
  """Times cases in turns; returns a row for each.

  Args:
    options: how many samples.
    batch: for the rows.
    cases: the cases by name.
    images: in a call of any of them.
    base: the case that others are compared with.
    faster: column for how many times as fast as the base.
    dearer: column for how many times its time.
  """
  calls = {name: call for name, (call, _) in cases.items()}
  seconds = take_turns(calls, options.samples)
  reference = seconds[base]
  return [
    {"case": name, **about(options, batch), **row}
    | speed(seconds[name], images)
    | ({faster: ratio(seconds[name], reference)} if faster else {})
    | ({dearer: ratio(reference, seconds[name])} if dearer else {})
    for name, (_, row) in cases.items()
  ]


def utilization(flop: float | None, seconds: float) -> float | None:
  """Returns the share of the device's 16-bit peak; None if unknown."""
  peak = backend.device_peak_flops(jax.devices()[0].device_kind)
  return flop / seconds / peak if flop and peak else None


def start(options: Options) -> learn.TrainState:
  """Returns a fresh classifier in training."""
  return _trial(options).state


def train_step(options: Options, *, view: View = augment.identity) -> Step:
  """Returns the step of SGD with momentum and weight decay."""
  return _trial(options, view=view).step


def _trial(options: Options, **how: View) -> trial.Trial:
  shape = (options.size, options.size, 3)
  return trial.trial(model(options), shape, batch_size=1, steps=1, **how)


def model(options: Options) -> nn.Module:
  """Returns the classifier that is measured, with 10 classes."""
  make = registry.get("models", options.arch)
  return make(10, width=options.width, dtype=options.dtype)


def dataset(options: Options, *, count: int) -> Dataset:
  """Returns `count` images of noise with labels, on the device."""
  shape = (count, options.size, options.size, 3)
  image = jax.random.randint(jax.random.key(1), shape, 0, 256)
  return Dataset(image.astype(jnp.uint8), jnp.arange(count) % 10)


def first_batch(data: Dataset) -> Batch:
  """Returns all of a dataset as one batch."""
  return Batch(data.image / jnp.float32(255), data.label, jnp.arange(data.size))
