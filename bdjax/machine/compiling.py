"""How long this process has traced and compiled, whoever asked for it.

Programs that are compiled on purpose are timed where that is done. Single
operations, such as those that draw a model's first weights, compile when they
are first met; JAX tells of these, too.
"""

import time
from collections import deque

import jax

EVENTS = tuple(
  f"/jax/core/compile/{name}_duration"
  for name in ("jaxpr_trace", "jaxpr_to_mlir_module", "backend_compile")
)
DEEP = 1000  # spans remembered, in case that a later one holds them


class _Clock:
  """The length of all spans together; what lies in another counts once."""

  def __init__(self) -> None:
    self.seconds = 0.0
    self._spans: deque[tuple[float, float]] = deque(maxlen=DEEP)

  def note(self, end: float, length: float) -> None:
    """Adds a span, which ends last."""
    while self._spans and self._spans[-1][0] >= end - length:
      start, last = self._spans.pop()
      self.seconds -= last - start
    start = max(end - length, self._spans[-1][1] if self._spans else 0.0)
    self._spans.append((start, end))
    self.seconds += end - start


_clock = _Clock()


def _heard(event: str, length: float, **more: str | int) -> None:
  del more
  if event in EVENTS:
    _clock.note(time.perf_counter(), length)


jax.monitoring.register_event_duration_secs_listener(_heard)


def seconds() -> float:
  """Returns how long the process has traced and compiled so far."""
  return _clock.seconds
