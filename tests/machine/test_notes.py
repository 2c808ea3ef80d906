"""Notes are said once, and the command line shows them as they are."""

import os
import subprocess
import sys

PROGRAM = """
from bdjax.cli import program, sayings
from bdjax.machine import notes

sayings.open_up(program.parse([], "program"))
for sentence in ("x [bold] %d.", "y.", "x [bold] %d."):
  notes.say(sentence)
"""


def test_the_command_line_shows_a_note_once_and_asks_for_no_device():
  done = subprocess.run(
    [sys.executable, "-c", PROGRAM],
    capture_output=True,
    text=True,
    env=os.environ | {"JAX_PLATFORMS": "none_such"},
  )
  assert (done.returncode, done.stdout) == (0, "")
  assert done.stderr == "note: x [bold] %d.\nnote: y.\n"


KEEPING = """
import jax
from bdjax.machine import programs

programs.keep()
programs.keep()
print(jax.jit(lambda x: x + 1)(2))
"""


def keep_in(cache):
  """Returns what a process says that keeps programs below a folder."""
  environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
  for name in (
    "COMPILATION_CACHE_DIR",
    "PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
  ):
    environment.pop(f"JAX_{name}", None)
  return subprocess.run(
    [sys.executable, "-c", KEEPING],
    capture_output=True,
    text=True,
    env=environment,
  )


def test_a_program_that_another_run_has_half_written_is_compiled_anew(tmp_path):
  keep_in(tmp_path)
  kept = [path for path in tmp_path.rglob("*-cache") if path.is_file()]
  for path in kept:
    path.write_bytes(path.read_bytes()[:99])
  done = keep_in(tmp_path)
  assert kept and (done.returncode, done.stdout) == (0, "3\n")
  assert done.stderr == ""


def test_programs_that_cannot_be_kept_stop_nothing():
  done = keep_in("/proc/x")
  assert (done.returncode, done.stdout) == (0, "3\n")
  assert done.stderr.startswith(
    "compiled programs cannot be kept in /proc/x/bdjax/xla ("
  )
  assert len(done.stderr.splitlines()) == 1  # not one of every program
