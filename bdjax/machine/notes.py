"""Says what a run does on its user's behalf, each sentence once a process.

It goes to the logger "bdjax"; the command line prints that to stderr.
"""

import functools
import logging

import jax

LOG = logging.getLogger("bdjax")


@functools.cache
def say(sentence: str) -> None:
  """Logs a sentence, unless this process said it or another one does."""
  if jax.process_index() == 0:
    LOG.warning("%s", sentence)
