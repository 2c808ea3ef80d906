"""What the pickle machine and our substitutes for a file's globals share."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from bdjax.interop.refusals import Refused, shown

NESTING = 64
VALUES = 10_000_000  # what is referred to twice counts twice
ROOM = 2**25  # bytes of values that even a small file may ask for
# Bytes that values take besides themselves: a place in a list or a stack, which
# grow by more than they need; in a mapping; and what `check_size` notes of one.
PLACE, ENTRY, NOTE = 16, 136, 224


@dataclass(frozen=True, slots=True)
class Name:
  """A global that the file names; never looked up."""

  module: str
  name: str

  def __str__(self) -> str:
    """Returns the dotted name, made printable."""
    return shown(f"{self.module}.{self.name}")


@dataclass(frozen=True, slots=True)
class Inert:
  """What stands for a value that no weights need; it holds nothing of it."""

  kind: Name


@dataclass(slots=True)
class Pending:
  """A value that a BUILD instruction completes."""

  finish: Callable[[Any], Any]
  slot: int | None = None  # where the machine remembers it


class Purse:
  """Bytes of memory that may still be taken."""

  def __init__(self, left: int, refusal: str):
    """Takes how many there are, and what is said when they are spent."""
    self._left, self._refusal = left, refusal

  def spend(self, count: int) -> None:
    """Takes some.

    Raises:
      Refused: so many are not left.
    """
    self._left -= count
    if self._left < 0:
      raise Refused(self._refusal)

  def spend_on(self, value: Any) -> None:
    """Takes what a new value needs on the machine's stack."""
    plain = isinstance(value, (str, bytes, int, float, type(None)))
    self.spend(sys.getsizeof(value) + PLACE + (0 if plain else NOTE))


class Rebuild(Protocol):
  """What names a file may use, and what comes of them."""

  def knows(self, name: Name) -> bool:
    """Returns whether a file may use the name."""
    ...

  def call(self, name: Name, arguments: tuple) -> Any:
    """Returns what our substitute for the name makes of the arguments."""
    ...

  def storage(self, identity: Any) -> Any:
    """Returns the numbers that the file keeps apart from the pickle."""
    ...


def check_size(value: Any) -> None:
  """Refuses a value that whoever walks through it would not get out of.

  Raises:
    Refused: it is nested too deeply, contains itself, or refers to the same
      parts so often that it holds too many values.
  """
  _weigh(value, {}, 0)


def _weigh(value: Any, known: dict, depth: int) -> tuple[int, int]:
  """Returns how deep a value is, and how large were nothing shared."""
  if not isinstance(value, (dict, list, tuple)) or not value:
    return 0, 1
  if id(value) in known:
    return known[id(value)]
  height, size = 0, 1
  if depth <= NESTING:
    children = value.values() if isinstance(value, dict) else value
    for child in children:
      below, count = _weigh(child, known, depth + 1)
      height, size = max(height, below + 1), size + count
  if height > NESTING or depth > NESTING:
    raise Refused(
      f"is nested more than {NESTING} levels deep, which no model is; save the "
      "weights alone."
    )
  if size > VALUES:
    raise Refused(
      f"repeats itself until it holds more than {VALUES} values; save the "
      "weights alone."
    )
  known[id(value)] = height, size
  return height, size
