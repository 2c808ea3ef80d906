"""A whole job, as a user waits for it: plant, repair twice, score; and PyTorch.

BadNets is planted in images of the procedural set, which are made first; the
model is fine-tuned and super-fine-tuned on a fifth of them, and CA and ASR of
all three models are measured: as many epochs each, with crop and flip. Ours is
what `bdjax.experiment` does, work directory and pictures included, CA and ASR
by epoch left out; PyTorch's is `torch_job`, written for this comparison. Each
job is a process of its own, timed from when its libraries are imported, so
compiling counts: once without and once with what an earlier job left in JAX's
compilation cache. Images per second are those trained on.
"""

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from bdjax.bench import measure
from bdjax.bench.measure import Options, Row
from bdjax.data import synthetic
from bdjax.machine import mesh, programs
from bdjax.runs import configs, settings, whole

CLEAN_RATE = 0.2  # the defender's share of the training images (chosen)
FRESH, CACHED = "bdjax, nothing cached", "bdjax, programs cached"


def run(options: Options) -> list[Row]:
  """Returns one row per batch size and case."""
  return [row for batch in options.batch for row in _compare(options, batch)]


def _compare(options: Options, batch: int) -> list[Row]:
  seconds: dict[str, list[float]] = {FRESH: [], CACHED: []}
  peer = importlib.util.find_spec("torch") is not None
  torch = "pytorch" if peer and options.arch == "preact_resnet18" else None
  if torch:
    seconds[torch] = []
  for _ in range(options.samples):
    with tempfile.TemporaryDirectory() as cache:
      seconds[FRESH].append(_seconds("job", options, batch, cache))
      seconds[CACHED].append(_seconds("job", options, batch, cache))
      if torch:
        seconds[torch].append(_seconds("torch_job", options, batch, cache))
  return [
    {"case": name, **measure.about(options, batch)}
    | measure.speed(taken, trained(options))
    | {"job_seconds": statistics.median(taken)}
    | {"ratio_to_pytorch": torch and measure.ratio(taken, seconds[torch])}
    for name, taken in seconds.items()
  ]


def trained(options: Options) -> int:
  """Returns how many images all epochs of a job train on."""
  tuned = round(CLEAN_RATE * options.images)
  return options.epochs * (options.images + 2 * tuned)


def _seconds(module: str, options: Options, batch: int, cache: str) -> float:
  """Runs a job in a process of its own; returns the seconds it says."""
  given = json.dumps([options._asdict(), batch])
  done = subprocess.run(
    [sys.executable, "-m", f"bdjax.bench.{module}", given],
    env=os.environ | {"JAX_COMPILATION_CACHE_DIR": cache},
    stdout=subprocess.PIPE,
    text=True,
    check=True,
  )
  return json.loads(done.stdout.splitlines()[-1])


def keys(options: Options, batch: int) -> dict[str, dict[str, Any]]:
  """Returns the job as sections of a config."""
  halfway = (options.epochs + 1) // 2
  return {
    "data": {
      "name": "synthetic",
      "train_images": options.images,
      "test_images": options.images // 5,
      "draw": "fixed",
    },
    "model": {
      "name": options.arch,
      "width": options.width,
      "dtype": options.dtype,
    },
    "train": {"epochs": options.epochs, "batch_size": batch},
    "defense": {
      "name": f"ft,super_ft(phase1_epochs={halfway})",
      "clean_rate": CLEAN_RATE,
      "epochs": options.epochs,
      "batch_size": min(batch, round(CLEAN_RATE * options.images)),
    },
    "evaluate": {"curve_images": 0},
  }


def ours(options: Options, batch: int) -> float:
  """Does the job; returns its seconds."""
  start = time.perf_counter()
  config = configs.read("base").values | {"seeds": (0,)}
  for section, values in keys(options, batch).items():
    config[section] |= values
  programs.keep()
  with tempfile.TemporaryDirectory() as folder:
    _, failures = whole.finish(
      settings.plan(config),
      Path(folder),
      Console(quiet=True),
      mesh=mesh.all_devices(),
    )
  if failures:
    raise RuntimeError(str(failures))
  return time.perf_counter() - start


def images(options: Options) -> dict[str, tuple]:
  """Returns the job's images and labels by split."""
  return {
    "train": synthetic.generate("train", options.images),
    "test": synthetic.generate("test", options.images // 5),
  }


if __name__ == "__main__":
  chosen, size = json.loads(sys.argv[1])
  print(json.dumps(ours(Options(**chosen), size)))
