"""`python -m bdjax.bench`: measure, print a table, keep the numbers as JSON.

`python -m bdjax.bench compile --target v5e:2x4` compiles for accelerators that
are not here instead, and measures nothing: see its own --help.
"""

import argparse
import datetime
import importlib
import json
import pathlib
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from bdjax.aot import command
from bdjax.bench.measure import Options, Row
from bdjax.machine import backend, environment, storage

BENCHMARKS = (
  "train_step",
  "fresh",
  "roofline",
  "epoch",
  "augmentation",
  "attack_step",
  "inversion",
  "sweep_width",
  "job",
)


def main(argv: Sequence[str] | None = None) -> list[Row]:
  """Runs the benchmarks named on the command line and returns their rows."""
  argv = list(sys.argv[1:] if argv is None else argv)
  if argv[:1] == ["compile"]:
    return command.main(argv[1:])
  args = _parser().parse_args(argv)
  values = {k: v for k, v in vars(args).items() if k in Options._fields}
  options = Options(**values | {"batch": tuple(args.batch)})
  names = BENCHMARKS if args.benchmark == "all" else (args.benchmark,)
  console, machine, rows = Console(), environment.describe(), []
  machine["compiler_options"] = backend.compiler_options()
  console.print(machine)
  for name in names:
    module = importlib.import_module(f"bdjax.bench.{name}")
    with console.status(f"measuring {name}"):
      measured = [{"benchmark": name, **row} for row in module.run(options)]
    console.print(_table(name, measured, options))
    rows += measured
  if args.json:
    _write(args.json, {"options": options._asdict(), "machine": machine}, rows)
  return rows


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser("bdjax.bench", description=__doc__)
  choices = ("all", *BENCHMARKS)
  parser.add_argument("benchmark", nargs="?", default="all", choices=choices)
  for name, default in Options._field_defaults.items():
    kind = {"type": type(default)}
    if name == "batch":
      kind = {"type": int, "nargs": "+"}
    parser.add_argument(f"--{name}", default=default, **kind)
  parser.add_argument("--json", type=_file, help="file to write")
  return parser


def _file(text: str) -> pathlib.Path:
  try:
    return storage.local(text, "--json")
  except ValueError as error:
    raise argparse.ArgumentTypeError(str(error)) from error


def _table(name: str, rows: list[Row], options: Options) -> Table:
  title = f"{name}: {options.arch}, width {options.width}, {options.dtype}"
  cells = [{**_first_columns(row), **_ratios(row)} for row in rows]
  columns = list(dict.fromkeys(k for row in cells for k in row))
  table = Table(title=title)
  for column in columns:
    table.add_column(column, justify="left" if column == "case" else "right")
  for row in cells:
    table.add_row(*(row.get(column, "-") for column in columns))
  return table


def _first_columns(row: Row) -> dict[str, str]:
  low, high = _text(row["slowest"]), _text(row["fastest"])
  return {
    "case": row["case"],
    "batch": str(row["batch"]),
    "images/s": _text(row["images_per_second"]),
    "range": f"{low} - {high}",
  }


def _ratios(row: Row) -> dict[str, str]:
  names = {
    "ratio_to_pytorch": "x pytorch",
    "ratio_to_loop": "x loop",
    "ratio_to_one": "x one",
    "cost_in_clean_steps": "clean steps",
    "cost_in_forward_passes": "forward passes",
    "utilization": "of peak",
    "compile_seconds": "compile s",
    "job_seconds": "job s",
    "gflop_per_second": "GFLOP/s",
    "share_of_matmul": "of matmul",
    "intensity": "FLOP/byte",
    "share_of_copy": "of copy",
    "temp_mib": "temp MiB",
    "peak_mib": "peak MiB",
    "predicted_mib": "predicted MiB",
  }
  return {names[k]: _text(row[k]) for k in names if row.get(k) is not None}


def _text(value: float) -> str:
  return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _write(path: pathlib.Path, about: Row, rows: list[Row]) -> None:
  now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
  text = json.dumps({"time": now, **about, "rows": rows}, indent=2)
  storage.write(path, text + "\n")


if __name__ == "__main__":
  main()
