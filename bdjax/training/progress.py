"""Shows how far a run is: live bars on a terminal, else an occasional line."""

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import (
  BarColumn,
  MofNCompleteColumn,
  Progress,
  TextColumn,
  TimeElapsedColumn,
  TimeRemainingColumn,
)

from bdjax.training.loop import Row

QUIET_SECONDS = 30.0  # between lines where there is no terminal


class Display:
  """What the user sees while cells are planted, defended and scored."""

  def __init__(self, console: Console, *, cells: int) -> None:
    """Prepares to show `cells` cells on a console."""
    self._console = console
    self._live = console.is_terminal
    self._cells, self._done, self._said = cells, 0, time.monotonic()
    self._label, self._stage = "", None
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
      self._all = self._bars.add_task("cells", total=self._cells, note="")
      yield self

  def start(self, label: str) -> None:
    """Says that a cell begins."""
    self._label = label
    self._end_stage()
    self._console.print(f"[bold]{label}[/bold]", highlight=False)

  def stage(self, name: str, done: int, epochs: int, row: Row) -> None:
    """Shows a stage's progress; a `progress` for `loop.host_fit`."""
    note = _note(row)
    if self._live:
      if self._stage is None or self._stage[0] != name:
        self._end_stage()
        task = self._bars.add_task(f"  {name}", total=epochs, note="")
        self._stage = (name, task)
      self._bars.update(self._stage[1], completed=done, note=note)
    elif time.monotonic() - self._said > QUIET_SECONDS or done == epochs:
      self._said = time.monotonic()
      self._console.print(
        f"  {name}: epoch {done}/{epochs}  {note}", highlight=False
      )

  def finish(self, text: str) -> None:
    """Says how a cell ended."""
    self._end_stage()
    self._done += 1
    self._bars.update(self._all, completed=self._done)
    self._console.print(f"  {text}", highlight=False)

  def _end_stage(self) -> None:
    if self._stage is not None:
      self._bars.remove_task(self._stage[1])
      self._stage = None


def _note(row: Row) -> str:
  names = {"loss": "loss", "accuracy": "train acc", "ca": "CA", "asr": "ASR"}
  parts = [f"{v} {row[k]:.3f}" for k, v in names.items() if k in row]
  return "  ".join(parts)
