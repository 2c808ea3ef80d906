"""The signature of `make` is the schema of an algorithm's arguments.

Names, defaults, ranges and what may be swept are read from annotations: a
`Scalar` may be traced, hence swept; int, str and bool are static. `Rate` and
its siblings add a range; `validated` checks it before anything is compiled.
"""

import difflib
import functools
import inspect
import math
import typing
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bdjax.types import Array, Scalar


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


class Choice(tuple):
  """The strings that an argument may be."""

  def __str__(self) -> str:
    """Returns the choices in words."""
    return f"one of {', '.join(self)}"


class Picture(NamedTuple):
  """Marks an array that a user may give as the path of an image file."""


Rate = Annotated[Scalar, Range(0.0, 1.0)]
Fraction = Annotated[Scalar, Range(0.0, 1.0, closed=True)]
Positive = Annotated[Scalar, Range(0.0)]
NonNegative = Annotated[Scalar, Range(0.0, closed=True)]
Count = Annotated[int, Range(1, closed=True)]
Index = Annotated[int, Range(0, closed=True)]
Image = Annotated[Array | None, Picture()]
Mode = Annotated[str, Choice(("all2one", "all2all"))]
OneTarget = Annotated[str, Choice(("all2one",))]  # a `mode` without a choice
Channels = Sequence[float]  # a number per channel of the images
Dtype = Annotated[str, Choice(("float32", "bfloat16"))]
Compat = Annotated[str, Choice(("paper", "backdoorbench"))]


class Argument(NamedTuple):
  """One argument of a `make`."""

  name: str
  default: Any
  base: Any  # the annotation without its range
  check: Any  # Range, Choice, Picture or None

  @property
  def sweepable(self) -> bool:
    """Whether the argument is a number that may be traced."""
    return self.base == Scalar

  def __str__(self) -> str:
    """Returns in words what the argument may be."""
    return _expected(self)


def arguments(make: Callable) -> dict[str, Argument]:
  """Returns a `make`'s arguments by name, in the order of its signature."""
  hints = typing.get_type_hints(make, include_extras=True)
  found = {}
  for name, parameter in inspect.signature(make).parameters.items():
    base, check = hints.get(name, Any), None
    if typing.get_origin(base) is Annotated:
      base, check = base.__origin__, base.__metadata__[0]
    found[name] = Argument(name, parameter.default, base, check)
  return found


def arrays(
  schema: dict[str, Argument], given: dict[str, Any]
) -> dict[str, Array]:
  """Returns a `make`'s numbers as arrays, so that no program holds them.

  A program compiled for one learning rate then serves all; see
  `bdjax.machine.programs`.

  Args:
    schema: its arguments.
    given: those that differ from their defaults.
  """
  numbers = {k: a.default for k, a in schema.items() if a.sweepable} | given
  return {
    name: jnp.asarray(float(value))
    for name, value in numbers.items()
    if name in schema and schema[name].sweepable
  }


def nearest(name: str, known: Iterable[str]) -> str:
  """Returns a remedy for an unknown name: near ones, or all of them."""
  known = sorted(known)
  near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
  if near:
    return f"did you mean {' or '.join(near)}?"
  return f"known are {', '.join(known) or 'none'}."


def validated(make: Callable) -> Callable:
  """Makes a `make` check its arguments' names, types and ranges.

  Raises (when called):
    ValueError: naming the algorithm, the argument, its value and what it may
      be. Traced numbers pass: their values are not known.
  """
  schema = arguments(make)
  label = make.__module__.rpartition(".")[2]

  @functools.wraps(make)
  def checked(*args, **kwargs):
    for name, value in (*zip(schema, args, strict=False), *kwargs.items()):
      if name not in schema:
        raise ValueError(
          f"{label} has no argument {name!r}: {nearest(name, schema)}"
        )
      _check(f"{label}.{name}", schema[name], value)
    return make(*args, **kwargs)

  return checked


def _check(label: str, argument: Argument, value: Any) -> None:
  if isinstance(value, jax.Array | np.ndarray) and argument.base is not int:
    return
  if not _fits(argument, value):
    raise ValueError(
      f"{label} is {value!r}, but must be {_expected(argument)}."
    )


def _fits(argument: Argument, value: Any) -> bool:
  base, check = argument.base, argument.check
  if isinstance(check, Picture):
    return value is None
  if base in (Scalar, float):
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and (check is None or value in check)
  if base is int and isinstance(value, bool):
    return False
  origin = typing.get_origin(base)
  kind = origin if origin in (tuple, Sequence) else base
  if base is not Any and not isinstance(value, kind):
    return False
  return check is None or value in check


def _expected(argument: Argument) -> str:
  if isinstance(argument.check, Picture):
    return "an image (an array, or the path of an image file)"
  if isinstance(argument.check, Choice):
    return str(argument.check)
  names = {
    Scalar: "a number",
    float: "a number",
    int: "a whole number",
    Channels: "a number per channel",
    int | None: "a whole number, or None",
    str: "a string",
    bool: "True or False",
  }
  kind = names.get(argument.base, str(argument.base))
  return f"{kind} {argument.check}" if argument.check else kind
