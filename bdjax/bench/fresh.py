"""What a new process pays: compile time without and with the cache, and memory.

Each case is a process of its own that compiles one epoch and trains it; the
second finds the first one's program in JAX's persistent compilation cache.
`peak_mib` is what the device held at most while training, beyond what it held
before; `predicted_mib` is what `bdjax.estimate.command` says of it: the weights
that the epoch returns (those it was given are held before) and the temporary
memory of a program of a few steps. A CPU's is the process's resident memory,
where Linux tells it, and of the second process only: training would reuse what
compiling has freed.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import jax

from bdjax.bench import measure
from bdjax.bench.measure import Options, Row
from bdjax.machine import backend
from bdjax.training import engine

_LONGER = 4  # times the steps of a sample: what is trained to see the peak
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def run(options: Options) -> list[Row]:
  """Returns a row without and one with the cache, per batch size."""
  rows = []
  for batch in options.batch:
    with tempfile.TemporaryDirectory() as cache:
      rows.append(_in_a_process(options, batch, cache))
      rows.append(_in_a_process(options, batch, cache))
  return rows


def _in_a_process(options: Options, batch: int, cache: str) -> Row:
  given = json.dumps([options._asdict(), batch, cache])
  done = subprocess.run(
    [sys.executable, "-m", "bdjax.bench.fresh", given],
    stdout=subprocess.PIPE,
    text=True,
    check=True,
  )
  return json.loads(done.stdout.splitlines()[-1])


def measured(options: Options, batch: int, cache: str) -> Row:
  """Returns a process's row; to be called once in it."""
  known = any(Path(cache).iterdir())
  case = "program cached" if known else "nothing cached"
  for name, value in {
    "jax_compilation_cache_dir": cache,
    "jax_persistent_cache_min_compile_time_secs": 0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
  }.items():
    jax.config.update(name, value)
  state, key = measure.start(options), jax.random.key(0)
  step = measure.train_step(options)
  few = measure.dataset(options, count=batch * options.steps)
  run = engine.epoch(step, batch_size=batch)
  program, row = measure.compile_program(
    run, (key, state, few), options=backend.compiler_options()
  )
  seconds = measure.take_turns(
    {case: lambda: jax.block_until_ready(program(key, state, few))},
    options.samples,
  )
  size = sum(x.nbytes for x in jax.tree.leaves(state))
  peak = _peak(run, batch * options.steps * _LONGER, options, state)
  return (
    {"case": case, **measure.about(options, batch), **row}
    | measure.speed(seconds[case], batch * options.steps)
    | {
      "peak_mib": peak if known else None,
      "predicted_mib": size / 2**20 + row["temp_mib"],
    }
  )


def _peak(run, count: int, options: Options, state) -> float | None:
  """Returns the MiB that training a longer epoch takes beyond what is held."""
  data, key = measure.dataset(options, count=count), jax.random.key(0)
  lowered = jax.jit(run).lower(key, state, data)
  program = lowered.compile(compiler_options=backend.compiler_options())
  jax.block_until_ready(data)
  before = _held(reset=True)
  jax.block_until_ready(program(key, state, data))
  after = _held()
  return None if before is None else (after - before) / 2**20


def _held(*, reset: bool = False) -> int | None:
  """Returns the most bytes held so far; where it can, from now on."""
  stats = jax.devices()[0].memory_stats()
  if stats:
    return stats["bytes_in_use" if reset else "peak_bytes_in_use"]
  if not (_STATUS.exists() and _CLEAR.exists()):
    return None
  if reset:
    _CLEAR.write_text("5")  # the kernel's word for: forget the peak
  field = "VmHWM:"
  line = next(x for x in _STATUS.read_text().splitlines() if field in x)
  return 1024 * int(line.split()[1])


if __name__ == "__main__":
  chosen, *rest = json.loads(sys.argv[1])
  print(json.dumps(measured(Options(**chosen), *rest)))
