"""The program: `python -m bdjax.launch`, or `bdjax` where it is installed.

`--help` says what it does; bdjax/cli has its words, bdjax/actions.py its deeds.
"""

import sys
import traceback
import warnings
from collections.abc import Sequence

from bdjax.cli import program, sayings
from bdjax.machine import faults, preemption
from bdjax.machine.preemption import NOTICE

TOGETHER = ("run", "estimate", "gallery")  # may be of several processes
_BATCHES = (
  "give a smaller --config.train.batch_size or --config.defense.batch_size"
)
SMALLER = {  # what takes less memory, by command
  "cleanse": "give smaller batches, as --defense='super_ft(batch_size=16)'",
  **dict.fromkeys(TOGETHER, _BATCHES),
}


def main(argv: Sequence[str]) -> int:
  """Runs the command in `argv` and returns the exit status."""
  name = "bdjax" if argv[0].endswith("bdjax") else "python -m bdjax.launch"
  try:
    given = program.parse(argv[1:], name)
    sayings.open_up(given)
  except ValueError as error:
    return sayings.fail(error)
  if given.does not in TOGETHER:
    NOTICE.alone()
  try:
    from bdjax import actions

    return getattr(actions, "listing" if given.does == "list" else given.does)(
      given
    )
  except preemption.Stopped:
    return NOTICE.say(preemption.SAVED)
  except Exception as error:
    return _failed(error, given.does)


def _memory(error: Exception, command: str) -> str | None:
  """Returns what is said of a device that is out of memory, or None."""
  import jax

  full = isinstance(error, jax.errors.JaxRuntimeError)
  if not full or "RESOURCE_EXHAUSTED" not in str(error):
    return None
  remedy = SMALLER.get(command, "take a device with more")
  reason = str(error).splitlines()[0][:200].rstrip(".")
  return f"the device has too little memory ({reason}): {remedy}."


def _failed(error: Exception, command: str) -> int:
  """Says what was raised, in a sentence where it is one; returns the status."""
  from bdjax.machine import losses, rollcall

  if (said := _memory(error, command)) is not None:
    error = ValueError(said)
  if losses.lost(error):
    if NOTICE.came():
      NOTICE.wait()
    reason = str(error).splitlines()[0]
    sayings.fail(
      f"another process of this run is lost ({reason}); {losses.AGAIN}"
    )
    losses.leave(losses.LOST)
  status = losses.LOST if isinstance(error, rollcall.Missing) else 2
  if isinstance(error, OSError):
    warnings.simplefilter("ignore")  # of what Orbax had under way
    rest = f"; {preemption.KEPT}" if command in TOGETHER else "."
    status, error = faults.STATUS, f"{error}{rest}"
  elif not isinstance(error, ValueError):
    if not losses.several():
      raise error
    traceback.print_exception(error)
  sayings.fail(error)
  if losses.several():
    losses.leave(status)
  return status


def entry() -> int:
  """Runs the program's own words; returns the exit status."""
  NOTICE.listen()  # what is imported later takes seconds
  return main(sys.argv)


if __name__ == "__main__":
  sys.exit(entry())
