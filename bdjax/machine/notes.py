"""Says what a run does on its user's behalf, each sentence once a process.

It goes to the logger "bdjax"; the command line prints that to stderr.
"""

import functools
import logging
from collections.abc import Callable
from pathlib import Path

import jax

LOG = logging.getLogger("bdjax")


@functools.cache
def say(sentence: str) -> None:
  """Logs a sentence, unless this process said it or another one does.

  No device is asked for, which another program may hold.
  """
  alone = not jax.distributed.is_initialized()
  if alone or jax.process_index() == 0:
    LOG.warning("%s", sentence)


def keep(what: str, folder: Path, write: Callable[[], None]) -> None:
  """Keeps something in a cache; says so, and goes on, where that fails.

  Args:
    what: it is, in words.
    folder: to make.
    write: writes into it.
  """
  try:
    folder.mkdir(parents=True, exist_ok=True)
    write()
  except OSError as fault:
    say(
      f"{what} cannot be kept in {folder} ({fault.strerror or fault}); the run "
      "goes on, and the next one does the work again: free some space there, "
      "or let $XDG_CACHE_HOME name another folder."
    )
