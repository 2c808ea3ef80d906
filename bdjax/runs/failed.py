"""What is said of cells that failed."""

import traceback
from collections.abc import Mapping
from pathlib import Path

import jax

from bdjax.methods import registry

PACKAGE = Path(__file__).parents[1]
SHOWN = 3  # cells that are named, of those that failed alike
_UNDECIDED = (
  jax.errors.ConcretizationTypeError,  # as TracerBoolConversionError is
  jax.errors.TracerArrayConversionError,
  jax.errors.TracerIntegerConversionError,
)


def reason(error: Exception) -> str:
  """Returns why a cell failed, in a line, and where in bdjax's own code."""
  lines = str(error).splitlines() or [""]
  kind = type(error).__name__
  frames = traceback.extract_tb(error.__traceback__)
  ours = [f for f in frames if PACKAGE in Path(f.filename).parents]
  if not ours:
    return f"{kind}: {lines[0]}"
  # Where a program is made, the last of ours may be what asked for it.
  place = next((f for f in reversed(ours) if _method(f)), ours[-1])
  file = Path(place.filename).relative_to(PACKAGE)
  if isinstance(error, _UNDECIDED):
    return (
      f"{file}:{place.lineno} asks in Python for the value of a number that a "
      f"program takes as an argument, as a sweep's are ({kind}): use "
      "jnp.where, or annotate it so that each value has its own program."
    )
  return f"{kind}: {lines[0]} ({file}:{place.lineno})"


def _method(frame: traceback.FrameSummary) -> bool:
  parts = Path(frame.filename).relative_to(PACKAGE).parts
  return parts[0] in registry.KINDS


def told(failures: Mapping[str, str]) -> list[str]:
  """Returns a sentence for cells that failed alike.

  Args:
    failures: why, by the name of a cell.
  """
  alike: dict[str, list[str]] = {}
  for name, why in failures.items():
    alike.setdefault(why, []).append(name)
  return [
    f"{_names(names)} failed and {'have' if len(names) > 1 else 'has'} no "
    f"result: {why}"
    for why, names in alike.items()
  ]


def _names(names: list[str]) -> str:
  if len(names) <= SHOWN:
    return ", ".join(names)
  return f"{', '.join(names[:SHOWN])} and {len(names) - SHOWN} more"
