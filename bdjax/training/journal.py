"""What a training did, epoch by epoch, and the time that it took."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from typing import Any

from bdjax.machine import compiling

Row = dict[str, Any]


def _now() -> tuple[float, float]:
  """Returns the time, and how much of it went into compiling."""
  return time.perf_counter(), compiling.seconds()


def _since(begun: tuple[float, float]) -> tuple[float, float]:
  now = _now()
  return now[0] - begun[0], now[1] - begun[1]


@dataclasses.dataclass
class Journal:
  """What a `host_fit` did: a row per epoch, and the wall time it took."""

  rows: list[Row] = dataclasses.field(default_factory=list)
  seconds: float = 0.0
  compiled: float = 0.0  # seconds of these in which JAX traced and compiled
  begun: tuple[float, float] = dataclasses.field(default_factory=_now)

  def begin(self) -> None:
    """Begins the time that `spent` splits; else that is when it was made."""
    self.begun = _now()

  @contextlib.contextmanager
  def counted(self) -> Iterator[None]:
    """Counts the time of what is in it: rows tell of it, or it is another's."""
    begun = _now()
    try:
      yield
    finally:
      seconds, compiled = _since(begun)
      self.seconds += seconds
      self.compiled += compiled

  def total(self, column: str) -> float:
    """Returns the sum of a column of seconds."""
    return sum(row.get(column, 0.0) for row in self.rows)

  def spent(self) -> dict[str, float]:
    """Splits the wall time since it began.

    Time outside epochs counts as training, but for what JAX traced and compiled
    then: the first weights and poisons of a process, say.
    """
    names = ("compile", "train", "eval")
    parts = {name: self.total(f"seconds_{name}") for name in names}
    wall, compiled = _since(self.begun)
    rest = max(0.0, wall - self.seconds)
    compiled = max(0.0, compiled - self.compiled)
    parts["compile"] += min(rest, compiled)
    parts["train"] += max(0.0, rest - compiled)
    return parts
