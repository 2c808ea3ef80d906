"""What values may be: ranges, choices, and numbers that fit in 32 bits."""

import decimal
import math
import typing
from collections.abc import Sequence
from pathlib import Path
from types import UnionType
from typing import Any, NamedTuple

from bdjax.types import Scalar

SINGLE = 3.4e38  # numbers become float32, whose largest this is
TINY = 1.2e-38  # what is smaller than its smallest becomes 0
INTEGER = 2**31 - 1  # whole numbers become int32


class Range(NamedTuple):
  """Where a number must lie; ends are excluded unless `closed`."""

  low: float
  high: float = math.inf
  closed: bool = False

  def __contains__(self, value: float) -> bool:
    """Returns whether the number lies in the range (NaN never does)."""
    if self.closed:
      return self.low <= value <= self.high
    return self.low < value < self.high

  def __str__(self) -> str:
    """Returns the range in words."""
    if self.high == math.inf:
      return f"{'at least' if self.closed else 'above'} {self.low:g}"
    ends = "included" if self.closed else "excluded"
    return f"between {self.low:g} and {self.high:g} ({ends})"


class Extent(NamedTuple):
  """Pixels, at least 1; or what share of the image's they are, below 1."""

  def __contains__(self, value: float) -> bool:
    """Returns whether the number is one of whole pixels, or a share."""
    return 0 < value < 1 or (value >= 1 and value == int(value))

  def __str__(self) -> str:
    """Returns the extent in words."""
    return "of whole pixels, or a share of the image's between 0 and 1"


class Choice(tuple):
  """The strings that an argument may be."""

  def __str__(self) -> str:
    """Returns the choices in words."""
    return f"one of {', '.join(self)}"


class Picture(NamedTuple):
  """Marks an array that a user may give as the path of an image file."""

  pixels: Range | None = None  # where they must lie; None leaves it open


def rounded_up(value: float) -> float:
  """Returns a number of two digits that is no smaller, for a sentence."""
  digits = decimal.Context(prec=2, rounding=decimal.ROUND_CEILING)
  return float(digits.create_decimal(repr(value)))


def shown(value: Any) -> str:
  """Returns a value as a sentence shows it: on one line, and not too long."""
  if isinstance(value, int) and abs(value) > 10**40:
    return "a number of more than 40 digits"
  text = " ".join(repr(value).split())
  return text if len(text) <= 80 else f"{text[:77]}..."


def fits(base: Any, check: Any, value: Any) -> bool:
  """Returns whether a value is of a type, and in a Range or Choice if any."""
  if isinstance(check, Picture):
    return value is None
  if value is None and _may_lack(base):
    return True
  return _is(base, value) and (check is None or value in check)


def _is(base: Any, value: Any) -> bool:
  """Returns whether a value is of a kind; numbers must fit in 32 bits."""
  if base in (Scalar, float):
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and (value == 0 or TINY < abs(value) < SINGLE)
  if base in (int, int | None):
    number = isinstance(value, int) and not isinstance(value, bool)
    return number and abs(value) <= INTEGER
  if base is Any:
    return True
  origin = typing.get_origin(base)
  if origin in (tuple, Sequence):
    return isinstance(value, tuple | list) and all(
      _is(typing.get_args(base)[0], item) for item in value
    )
  return isinstance(value, base)


def _may_lack(base: Any) -> bool:
  return type(None) in typing.get_args(base)


def expected(base: Any, check: Any) -> str:
  """Returns in words what `fits` allows."""
  if isinstance(check, Picture):
    return "an image (an array, or the path of an image file)"
  kind = _kind(base)
  if isinstance(check, Choice):
    kind = str(check)
  elif check is not None:  # an Extent is an empty tuple
    kind = f"{kind} {check}"
  return f"{kind}, or None" if _may_lack(base) else kind


def _kind(base: Any) -> str:
  """Returns what values of a type are, in words; None apart."""
  words = {
    Scalar: "a number",
    float: "a number",
    int: "a whole number",
    Sequence[float]: "a number per channel, in brackets",
    tuple[float, ...]: "several numbers, in brackets",
    str: "a string",
    Path: "a path",
    bool: "True or False",
  }
  if base in words:
    return words[base]
  if isinstance(base, UnionType):
    kinds = [x for x in typing.get_args(base) if x is not type(None)]
    return " or ".join(map(_kind, kinds))
  return f"a {base.__name__}" if base in (tuple, list) else str(base)


def limit(base: Any, value: Any) -> str:
  """Returns what a number must be beside, if it does not fit in 32 bits."""
  if base in (int, int | None) and isinstance(value, int):
    return f", of at most {INTEGER}" if abs(value) > INTEGER else ""
  if base in (float, Scalar) and not _is(base, value):
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f", between {TINY} and {SINGLE} in size" if number else ""
  return ""
