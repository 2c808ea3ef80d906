"""Lines of progress say how long it takes, on a console and in a log."""

import io
import logging

import pytest
from rich.console import Console

from bdjax.training import progress
from bdjax.training.loop import RESUMED
from bdjax.training.pace import Kind


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
    "  CA 0.9  (1 of 2 cells)",
  ]
  assert logged == lines


def test_a_cell_s_pace_says_nothing_of_the_next_one_s(clock, logged):
  display = progress.Display(Console(file=io.StringIO(), width=100), cells=2)
  with display.running():
    for seconds in (1000, 40):
      display.start("ft")
      for done in (0, 1, 2):
        clock[0] += seconds  # of which the first compiles
        display.stage("ft", done, 10, {"loss": 0.5} if done else {})
      display.finish("CA 0.9")
  lines = [line for line in logged if "epoch" in line]
  assert lines == [
    "  ft: epoch 0/10  compiling, first epoch",
    "  ft: epoch 1/10  loss 0.500",
    "  ft: epoch 2/10  loss 0.500  2 h left",
    "  ft: epoch 0/10  compiling, first epoch",
    "  ft: epoch 1/10  loss 0.500",
    "  ft: epoch 2/10  loss 0.500  5 min left",
  ]


def test_what_all_cells_will_take_is_said_by_their_kinds(clock, logged):
  out, plant, ft = io.StringIO(), Kind("badnets", like="plant"), Kind("ft")
  display = progress.Display(
    Console(file=out, width=30), cells=4, kinds=[plant, ft, plant, ft]
  )
  with display.running():
    for kind, seconds, failed in [
      (plant, 3000, False),
      (ft, 10, True),
      (plant, 1000, False),
      (ft, 10, False),
    ]:
      display.start(kind.name, kind)
      clock[0] += seconds
      display.finish("CA 0.9", failed=failed)
  lines = [line for line in logged if "CA" in line]
  assert lines == [
    "  CA 0.9  (1 of 4 cells)",
    "  CA 0.9  (2 of 4 cells)",
    "  CA 0.9  (3 of 4 cells)",
    "  CA 0.9  (4 of 4 cells)",
  ]


def test_lines_are_whole_where_there_is_no_terminal(clock, logged):
  out = io.StringIO()
  kinds = [Kind("ft")] * 2
  display = progress.Display(Console(file=out, width=20), cells=2, kinds=kinds)
  with display.running():
    display.start("badnets · conventional · seed 0 · ft", kinds[0])
    clock[0] += 200
    display.finish("CA 0.9000  ASR 0.1000")
  assert out.getvalue().splitlines() == [
    "badnets · conventional · seed 0 · ft",
    "  CA 0.9000  ASR 0.1000  (1 of 2 cells, about 3 min left)",
  ]


def test_a_resumed_stage_says_so_at_once(clock, logged):
  out = io.StringIO()
  display = progress.Display(Console(file=out, width=100), cells=1)
  row = {"loss": 0.5}
  with display.running():
    display.start("badnets")
    display.stage("train", 57, 80, row | {RESUMED: True})
    clock[0] += 40
    display.stage("train", 58, 80, row)
  assert out.getvalue().splitlines()[1:] == [
    "  train: epoch 57/80  loss 0.500  saved before",
    "  train: epoch 58/80  loss 0.500  15 min left",  # 22 more of 40 s
  ]


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
