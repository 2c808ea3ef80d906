"""What a process does when it, or another one of its run, is about to end."""

import ctypes
import os
import re
import signal
import sys
import time
from typing import NoReturn

import jax

from bdjax.machine.preemption import NOTICE

LOST = 3  # exit status when another process of the run is gone
AGAIN = "start all of them again: the run continues from what it has saved."
PARTING = 3.0  # seconds in which others may fail as this process did
_handlers: list = []  # what C calls must outlive the call that tells it


def several() -> bool:
  """Returns whether this process has met others."""
  return jax.distributed.is_initialized()


def lost(error: Exception) -> bool:
  """Returns whether an error says that another process is gone.

  Some of what collectives raise comes as a ValueError, by JAX's status code.
  """
  if not several():
    return False
  coded = isinstance(error, ValueError) and re.match(r"[A-Z_]+: ", str(error))
  return bool(coded) or isinstance(error, jax.errors.JaxRuntimeError)


def leave(status: int) -> NoReturn:
  """Ends this process of several, whether others still wait for it or not.

  An ordinary exit would wait for them. Those that end for the same reason get
  the time to say so.
  """
  sys.stdout.flush()
  sys.stderr.flush()
  time.sleep(0 if status == LOST else PARTING)
  os._exit(status)


def outlive_aborts() -> None:
  """Has JAX's abort, when it notices a lost process first, end as others do."""

  def aborted(number: int) -> None:
    del number
    if NOTICE.came():
      NOTICE.wait()
    os.write(
      2, f"\nerror: another process of this run is lost; {AGAIN}\n".encode()
    )
    os._exit(LOST)

  handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(aborted)
  _handlers.append(handler)  # it must outlive this call
  ctypes.CDLL(None).signal(signal.SIGABRT, handler)
