"""Notes are said once, and the command line shows them as they are."""

import subprocess
import sys

PROGRAM = """
import sys
from absl import app
from bdjax import options
from bdjax.machine import notes

def main(argv):
  for sentence in ("x [bold] %d.", "y.", "x [bold] %d."):
    notes.say(sentence)

options.define()
app.run(main, argv=["program"], flags_parser=options.parse)
"""


def test_the_command_line_shows_a_note_once():
  done = subprocess.run(
    [sys.executable, "-c", PROGRAM], capture_output=True, text=True
  )
  assert (done.returncode, done.stdout) == (0, "")
  assert done.stderr == "note: x [bold] %d.\nnote: y.\n"
