"""`python -m bdjax.bench compile`: what a target's compiler makes of bdjax.

Every case is compiled in a process of its own, one after the other, for devices
that need not be here: whether it compiles, what memory of a device it needs,
how it is shaped for it. Speeds are the compiler's estimates or bounds from data
sheets, never measurements.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from bdjax.aot import cases, table, targets
from bdjax.aot.cases import Case
from bdjax.aot.targets import Target

Row = dict[str, Any]
_WIDE = 200  # columns of a table that goes to a file
_LIMIT = 1800.0  # seconds of a case, before it is given up


def main(argv: Sequence[str]) -> list[Row]:
  """Compiles what the arguments choose, prints a table, returns its rows."""
  args = _parser().parse_args(argv)
  console = Console()
  if not console.is_terminal:
    console.width = _WIDE
  try:
    target = targets.parse(args.target)
    chosen = cases.choose(target, args.cases, quick=args.quick)
    if not args.list:
      targets.require(target)
  except ValueError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
  if args.list:
    for case in chosen:
      console.print(case.name, highlight=False)
    return []
  rows = _all(target, chosen, args, console)
  console.print(table.of(target, rows))
  console.print(table.LEGEND, highlight=False)
  return rows


def compile_case(
  target: Target, case: Case, *, keep: Path | None = None
) -> Iterator[Row]:
  """Yields a row for each program of a case, compiled in a new process.

  A process that dies gives a last row that says how.

  Args:
    target: to compile for.
    case: what to compile.
    keep: folder for the compiled text; None for none.
  """
  given = {
    "target": target.name,
    "build": case.build,
    "options": case.options,
    "keep": keep and str(keep / case.name.replace("/", "-")),
  }
  about = {"target": target.name, "case": case.name}
  try:
    done = subprocess.run(
      [sys.executable, "-m", "bdjax.aot.case", json.dumps(given)],
      env=targets.environment(target),
      capture_output=True,
      text=True,
      timeout=_LIMIT,
    )
    code, out, log = done.returncode, done.stdout, done.stderr
  except subprocess.TimeoutExpired as late:
    code, out, log = None, (late.stdout or b"").decode(), ""
  rows = [json.loads(x) for x in out.splitlines() if x.startswith("{")]
  for row in rows:
    yield about | row
  if code != 0:
    why = failure(code, log)
    yield about | {"program": "", "compiles": False, "why": why}


def failure(code: int | None, log: str) -> str:
  """Returns in one line how a process ended that did not end well.

  Args:
    code: its exit status; negative for a signal, None if it took too long.
    log: what it wrote beside its results.
  """
  if code is None:
    return f"not done after {_LIMIT / 60:.0f} minutes"
  lines = [line.strip() for line in log.splitlines() if line.strip()]
  fatal = [x for x in lines if x.startswith("F") and "] " in x]
  last = (fatal or lines or ["no word"])[-1]
  last = last.partition("] ")[2] or last if fatal else last
  head = "aborts XLA" if code < 0 else f"fails with status {code}"
  signal = f" (signal {-code})" if code < 0 else ""
  return f"{head}{signal}: {last[:300]}"


def _all(
  target: Target, chosen: list[Case], args: argparse.Namespace, console: Console
) -> list[Row]:
  rows = []
  if args.keep:
    args.keep.mkdir(parents=True, exist_ok=True)
  with Progress(console=console, transient=True) as progress:
    task = progress.add_task("compiling", total=len(chosen))
    for case in chosen:
      progress.update(task, description=f"compiling {case.name}")
      for row in compile_case(target, case, keep=args.keep):
        rows.append(row)
        _tell(row, args.out, progress.console)
      progress.advance(task)
  return rows


def _tell(row: Row, out: Path | None, console: Console) -> None:
  if out:
    with out.open("a") as file:
      file.write(json.dumps(row) + "\n")
  if not row["compiles"]:
    console.print(f"{row['case']}: {row['why']}", highlight=False, markup=False)


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser("bdjax.bench compile", description=__doc__)
  parser.add_argument(
    "--target", required=True, help="h100, h100:8, v5e:2x4, v5e:16x16, ..."
  )
  parser.add_argument(
    "--cases", nargs="+", default=(), help="names, such as 'train/*/float32/*'"
  )
  parser.add_argument(
    "--quick", action="store_true", help="an epoch per model, Neural Cleanse"
  )
  parser.add_argument("--list", action="store_true", help="only names")
  parser.add_argument("--out", type=Path, help="file for a JSON line each")
  parser.add_argument("--keep", type=Path, help="folder for compiled text")
  return parser
