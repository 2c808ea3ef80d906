"""Shows how far a run is: live bars on a terminal, else an occasional line.

The lines go to the logger "bdjax", too, which a log file may keep.
"""

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import (
  BarColumn,
  MofNCompleteColumn,
  Progress,
  TaskID,
  TextColumn,
  TimeElapsedColumn,
  TimeRemainingColumn,
)

from bdjax.training import pace
from bdjax.training.journal import Row
from bdjax.training.loop import RESUMED
from bdjax.training.pace import Kind, Pace

LOG = logging.getLogger("bdjax")
QUIET_SECONDS = 30.0  # between lines where there is no terminal


class Display:
  """What the user sees while cells are planted, defended and scored."""

  def __init__(
    self,
    console: Console,
    *,
    cells: int,
    unit: str = "cells",
    kinds: Iterable[Kind] = (),
  ) -> None:
    """Prepares to show work on a console.

    Args:
      cells: how many there are to do.
      unit: what they are called.
      kinds: of each cell, by which the time left of all of them is told; ()
        tells none.
    """
    self._console = console
    self._live = console.is_terminal
    self._pace = Pace(kinds)
    self._kind, self._since = pace.NONE, 0.0
    self._cells, self._done, self._said = cells, 0, time.monotonic()
    self._unit = unit
    self._stage: tuple[str, TaskID] | None = None
    self._began: tuple[str, int, float] | None = None  # stage, epoch, when
    self._bars = Progress(
      TextColumn("{task.description}"),
      BarColumn(bar_width=24),
      MofNCompleteColumn(),
      TimeElapsedColumn(),
      TextColumn("eta"),
      TimeRemainingColumn(),
      TextColumn("[dim]{task.fields[note]}"),
      console=console,
      disable=not self._live,
    )

  @contextlib.contextmanager
  def running(self) -> Iterator["Display"]:
    """Shows the bars while the block runs."""
    with self._bars:
      self._all = self._bars.add_task(self._unit, total=self._cells, note="")
      yield self

  def start(self, label: str, kind: Kind = pace.NONE) -> None:
    """Says that a cell begins."""
    self._kind, self._since, self._began = kind, time.monotonic(), None
    self._end_stage()
    self._say(f"[bold]{label}[/bold]")
    LOG.info("%s", label)

  def stage(
    self, name: str, done: int, epochs: int, row: Row, unit: str = "epoch"
  ) -> None:
    """Shows a stage's progress; a `progress` for `loop.host_fit`.

    Args:
      name: of the stage.
      done: epochs that are done, or other things that a `unit` names; 0 while
        the first is under way, which begins with compiling.
      epochs: of all.
      row: what is known of the last one.
      unit: one of them, in words.
    """
    self._show(name, unit, done, epochs, _note(row), resumed=RESUMED in row)

  def members(self, done: int, count: int) -> None:
    """Shows how many members of a program, cells at once, have their result."""
    self._show("together", "cell", done, count, "")

  def _show(
    self,
    name: str,
    unit: str,
    done: int,
    count: int,
    note: str,
    *,
    resumed: bool = False,
  ) -> None:
    now = time.monotonic()
    if not done:  # what the first takes says nothing of the others
      self._began, note = None, f"compiling, first {unit}"
    elif self._began is None or self._began[0] != name or done < self._began[1]:
      self._began = (name, done, now)
    due = now - self._said > QUIET_SECONDS or done == count or resumed
    line = f"  {name}: {unit} {done}/{count}  {note}{self._left(done, count)}"
    line = line.rstrip()
    if due:
      self._said = now
      LOG.info("%s", line)
    if self._live:
      if self._stage is None or self._stage[0] != name:
        self._end_stage()
        task = self._bars.add_task(f"  {name}", total=count, note="")
        self._stage = (name, task)
      self._bars.update(self._stage[1], completed=done, note=note)
    elif due:
      self._say(line)

  def _say(self, line: str) -> None:
    """Prints a line, which only a terminal may break."""
    self._console.print(line, highlight=False, soft_wrap=not self._live)

  def _left(self, done: int, count: int) -> str:
    """Returns how long the stage goes on at the pace that was seen, if any."""
    if self._began is None or done <= self._began[1] or done == count:
      return ""
    _, first, when = self._began
    seconds = (time.monotonic() - when) / (done - first) * (count - done)
    return f"  {duration(seconds)} left"

  def finish(self, text: str, *, failed: bool = False) -> None:
    """Says how a cell ended."""
    self._end_stage()
    self._done += 1
    self._bars.update(self._all, completed=self._done)
    took = None if failed else time.monotonic() - self._since
    self._pace.done(self._kind, took)
    left = self._pace.left()
    rest = f", about {duration(left)} left" if left else ""
    text += f"  ({self._done} of {self._cells} {self._unit}{rest})"
    self._say(f"  {text}")
    LOG.info("  %s", text)

  def _end_stage(self) -> None:
    if self._stage is not None:
      self._bars.remove_task(self._stage[1])
      self._stage = None


def duration(seconds: float) -> str:
  """Returns a time as people say it."""
  for size, unit in ((3600, "h"), (60, "min")):
    if seconds >= 1.5 * size:
      return f"{seconds / size:.0f} {unit}"
  return f"{seconds:.0f} s"


def _note(row: Row) -> str:
  names = {"loss": "loss", "accuracy": "train acc", "ca": "CA", "asr": "ASR"}
  parts = [f"{v} {row[k]:.3f}" for k, v in names.items() if k in row]
  return "  ".join([*parts, "saved before"] if RESUMED in row else parts)
