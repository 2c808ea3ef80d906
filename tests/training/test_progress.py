"""Lines of progress say how long it takes, on a console and in a log."""

import io
import logging

import pytest
from rich.console import Console

from bdjax.training import progress


@pytest.fixture
def clock(monkeypatch):
  """A clock that is set by hand."""
  now = [1000.0]
  monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
  return now


@pytest.fixture
def logged(monkeypatch):
  """Returns the messages that the log gets."""
  messages = []
  handler = logging.Handler()
  handler.emit = lambda record: messages.append(record.getMessage())
  monkeypatch.setattr(progress.LOG, "handlers", [handler])
  monkeypatch.setattr(progress.LOG, "level", logging.INFO)
  progress.LOG.manager._clear_cache()
  yield messages
  progress.LOG.manager._clear_cache()


def test_lines_say_what_is_left_and_go_to_the_log(clock, logged):
  out = io.StringIO()
  display = progress.Display(Console(file=out, width=100), cells=2)
  with display.running():
    display.start("badnets")
    for done in (1, 2, 3, 4):
      clock[0] += 40
      display.stage("train", done, 10, {"loss": 0.5})
    clock[0] += 1
    display.stage("train", 5, 10, {"loss": 0.5})  # too soon to be said
    display.finish("CA 0.9")
  lines = out.getvalue().splitlines()
  assert lines == [
    "badnets",
    "  train: epoch 1/10  loss 0.500",
    "  train: epoch 2/10  loss 0.500  5 min left",  # 8 more of 40 s
    "  train: epoch 3/10  loss 0.500  5 min left",
    "  train: epoch 4/10  loss 0.500  4 min left",
    "  CA 0.9",
  ]
  assert logged == [*lines[:-1], "  CA 0.9  (1 of 2 cells)"]


@pytest.mark.parametrize(
  ("seconds", "text"),
  [(8.4, "8 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (5400, "2 h")],
)
def test_times_are_said_as_people_do(seconds, text):
  assert progress.duration(seconds) == text


def test_cells_of_one_program_are_not_counted_as_epochs():
  console = Console(file=io.StringIO(), width=80)
  with progress.Display(console, cells=3).running() as display:
    display.stage("train", 2, 2, {"loss": 0.5})
    display.members(2, 2)
  text = console.file.getvalue()
  assert "train: epoch 2/2  loss 0.500\n" in text
  assert "together: cell 2/2\n" in text and text.count("epoch") == 1
