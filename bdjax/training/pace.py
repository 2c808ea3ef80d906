"""How long what is left of a run takes, by what the like of it took."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple


class Kind(NamedTuple):
  """What cells have in common that take about as long as one another.

  Attributes:
    name: of what is done.
    like: of what takes as long as that where it was not done itself; "" if
      nothing does.
  """

  name: str
  like: str = ""


NONE = Kind("")  # of what is like nothing else


class Pace:
  """Times what was done, and says of the rest how long it will take."""

  def __init__(self, kinds: Iterable[Kind]) -> None:
    """Takes the kind of each thing to be done."""
    self._left = Counter(kinds)
    self._took: dict[str, list[float]] = defaultdict(list)

  def done(self, kind: Kind, seconds: float | None = None) -> None:
    """Notes that one is done; None where its time says nothing of others."""
    self._left[kind] -= 1
    if seconds is not None:
      self._took[kind.name].append(seconds)
      if kind.like:
        self._took[kind.like].append(seconds)

  def left(self) -> float | None:
    """Returns the seconds of the rest, or None if a kind of it is unknown."""
    total = 0.0
    for kind, count in self._left.items():
      if count > 0:
        took = self._took.get(kind.name) or self._took.get(kind.like)
        if not took:
          return None
        total += count * sum(took) / len(took)
    return total
