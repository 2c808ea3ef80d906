"""One case, compiled in a process of its own: XLA may abort it.

`python -m bdjax.aot.case '{"target": "v5e:2x4", "build": "train",
"options": {...}}'` prints a line of JSON per program.
"""

import json
import sys
import time
from typing import Any

import jax

from bdjax.aot import hlo, programs, reading, targets, traffic
from bdjax.aot.epochs import Program
from bdjax.aot.shapes import Images
from bdjax.aot.targets import Target

MIB = 2**20
# Without a device to try them on, XLA finds no tiles for some products that it
# would fuse; it then multiplies by libraries, as it does with this option.
_UNTILED = "Couldn't find output tile sizes"
_LIBRARIES = {"xla_gpu_enable_triton_gemm": False}


def run(
  target: Target, build: str, options: dict[str, Any], keep: str | None = None
) -> None:
  """Compiles a case's programs and prints what each is like.

  Args:
    target: to compile for.
    build: one of `programs.BUILDERS`.
    options: its arguments, and the precision of float32 products.
    keep: where to write the compiled text; None writes none.
  """
  if "images" in options:
    options["images"] = Images(*options["images"])
  devices = targets.devices(target)
  with jax.default_matmul_precision(options.pop("precision", "default")):
    for program in programs.BUILDERS[build](devices, **options):
      row = compiled(target, program, keep)
      print(json.dumps(row), flush=True)


def compiled(
  target: Target, program: Program, keep: str | None = None
) -> dict[str, Any]:
  """Compiles a program and returns what it is like."""
  row = {"program": program.name, "compiles": True}
  row["devices"] = program.devices
  start = time.perf_counter()
  try:
    executable = _executable(program.lowered)
  except jax.errors.JaxRuntimeError as error:
    why = " ".join(str(error).split())[:400]
    return row | {"compiles": False, "why": why}
  row["compile_seconds"] = time.perf_counter() - start
  text = executable.as_text()
  if keep:
    with open(f"{keep}-{program.name.replace(' ', '_')}.hlo", "w") as file:
      file.write(text)
  module = hlo.parse(text)
  return (
    row
    | memory(target, executable)
    | read(program, module)
    | timing(target, program, module)
  )


def _executable(lowered: jax.stages.Lowered) -> jax.stages.Compiled:
  try:
    return lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    if _UNTILED not in str(error):
      raise
    return lowered.compile(compiler_options=_LIBRARIES)


def memory(target: Target, executable: jax.stages.Compiled) -> dict[str, Any]:
  """Returns what a program needs of a device, in MiB, and if it has it."""
  analysis = executable.memory_analysis()
  names = ("argument", "temp", "output", "alias", "generated_code")
  sizes = {name: getattr(analysis, f"{name}_size_in_bytes") for name in names}
  total = sum(sizes.values()) - 2 * sizes["alias"]
  return {f"{name}_mib": size / MIB for name, size in sizes.items()} | {
    "total_mib": total / MIB,
    "fits": total <= target.chip.memory,
  }


def read(program: Program, module: hlo.Module) -> dict[str, Any]:
  """Returns what a program's text says of its shape."""
  loops = reading.loops(module)
  serial = reading.serial(loops, program.batches, program.size)
  products = reading.products(module)
  convolutions = [p for p in products if p.kind == "convolution"]
  grouped = [p for p in convolutions if p.groups > 1]
  return {
    "collectives": reading.collectives(module),
    "serial_loops": [f"{x.trips} x {x.label[-80:]}" for x in serial],
    "loops": [[x.trips, x.depth, x.label[-80:]] for x in loops],
    "convolutions": _count(f"{p.dtype} {p.by}" for p in convolutions),
    "dots": _count(f"{p.dtype} {p.by}" for p in products if p.kind == "dot"),
    "grouped_convolutions": len(grouped),
    "unexpected_groups": 0 if program.grouped else len(grouped),
    "launches": reading.launches(module),
  }


def timing(
  target: Target, program: Program, module: hlo.Module
) -> dict[str, Any]:
  """Returns the times that a run cannot beat, and XLA's estimate on TPUs."""
  chip, moved = target.chip, traffic.moved(module)
  row = {
    "flop": program.flop,
    "bytes": moved,
    "roofline_seconds": max(program.flop / chip.flops, moved / chip.bandwidth),
    "arithmetic_seconds": program.flop / chip.flops,
  }
  if chip.clock:
    row["estimate_seconds"] = reading.cycles(module) / chip.clock
    if row["estimate_seconds"]:
      row["estimate_mfu"] = row["arithmetic_seconds"] / row["estimate_seconds"]
  return row


def _count(names) -> dict[str, int]:
  counts = {}
  for name in names:
    counts[name] = counts.get(name, 0) + 1
  return counts


if __name__ == "__main__":
  given = json.loads(sys.argv[1])
  run(targets.parse(given.pop("target")), **given)
