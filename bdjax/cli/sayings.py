"""What the program prints and logs: notes, progress, errors."""

import argparse
import logging
import sys
from pathlib import Path

from rich.console import Console

LOG = logging.getLogger("bdjax")
LOG.addHandler(logging.NullHandler())  # or else errors would be printed twice


def open_up(given: argparse.Namespace) -> None:
  """Has notes printed as they are, and all of it logged if a file is given.

  Raises:
    ValueError: the file cannot be written.
  """
  LOG.setLevel(logging.INFO)
  LOG.propagate = False
  notes = logging.StreamHandler()
  notes.setFormatter(logging.Formatter("note: %(message)s"))
  notes.addFilter(lambda record: record.levelno == logging.WARNING)
  if not given.quiet:
    LOG.addHandler(notes)
  if given.log_file:
    LOG.addHandler(_file(Path(given.log_file)))


def _file(path: Path) -> logging.Handler:
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
  except OSError as fault:
    raise ValueError(
      f"--log_file is {path}, which cannot be written ({fault.strerror}): give "
      "another."
    ) from None
  handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s"))
  return handler


def console(given: argparse.Namespace, quiet: bool = False) -> Console:
  """Returns where results are printed; nowhere if either asks for quiet."""
  return Console(quiet=quiet or given.quiet)


def fail(error: Exception | str) -> int:
  """Prints one sentence, logs it, and returns exit status 2."""
  print(f"error: {error}", file=sys.stderr)
  LOG.error("error: %s", error)
  return 2
