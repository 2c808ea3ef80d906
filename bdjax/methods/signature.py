"""The signature of `make` is the schema of an algorithm's arguments.

Names, defaults, ranges and what may be swept are read from annotations: a
`Scalar` may be traced, hence swept; int, str and bool are static. `Rate` and
its siblings add a range; `validated` checks it before anything is compiled.
Arguments that many methods share are fields of one parameter, a `Group`, which
a caller gives by their own names: `make(lr=0.05)` of `make(*, recipe: Training
= Recipe())`.
"""

import dataclasses
import difflib
import functools
import inspect
import math
import re
import typing
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bdjax.types import Array, Recipe, Scalar

_MEANING = re.compile(r"^  (\w+): (.*(?:\n {4}.*)*)", re.MULTILINE)


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


class Group(NamedTuple):
  """Marks a dataclass whose fields are given by their own names.

  Attributes:
    fields: the annotation of each; one that is left out is nobody's to give.
  """

  fields: dict[str, Any]

  def without(self, *names: str) -> "Group":
    """Returns the group with some fields left out."""
    return Group({k: v for k, v in self.fields.items() if k not in names})

  def having(self, **fields: Any) -> "Group":
    """Returns the group with other annotations."""
    return Group(self.fields | fields)


Rate = Annotated[Scalar, Range(0.0, 1.0)]
Fraction = Annotated[Scalar, Range(0.0, 1.0, closed=True)]
Positive = Annotated[Scalar, Range(0.0)]
NonNegative = Annotated[Scalar, Range(0.0, closed=True)]
Count = Annotated[int, Range(1, closed=True)]
Index = Annotated[int, Range(0, closed=True)]
Size = Annotated[float, Extent()]  # static: it decides shapes
Image = Annotated[Array | None, Picture()]
Mode = Annotated[str, Choice(("all2one", "all2all"))]
OneTarget = Annotated[str, Choice(("all2one",))]  # a `mode` without a choice
Channels = Sequence[float]  # a number per channel of the images
Dtype = Annotated[str, Choice(("float32", "bfloat16"))]
Compat = Annotated[str, Choice(("paper", "backdoorbench"))]
TRAINING = Group(
  {
    "lr": Positive,
    "epochs": Index,
    "batch_size": Count,
    "schedule": Annotated[str, Choice(("constant", "cosine"))],
    "momentum": NonNegative,
    "weight_decay": NonNegative,
  }
)
Training = Annotated[Recipe, TRAINING]


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
  """Returns a `make`'s arguments by name, in the order of its signature.

  A group's fields take its place.
  """
  schema = {}
  for parameter in _parameters(make).values():
    if isinstance(parameter.check, Group):
      for name, hint in parameter.check.fields.items():
        schema[name] = _argument(name, getattr(parameter.default, name), hint)
    else:
      schema[parameter.name] = parameter
  return schema


def meanings(make: Callable) -> dict[str, str]:
  """Returns what docstrings say of a `make`'s arguments, by name.

  Its own Args win over the Attributes of its groups.
  """
  groups = _groups(make).values()
  texts = [(group.base, "Attributes:\n") for group in groups]
  meanings = {}
  for source, title in (*texts, (make, "Args:\n")):
    listed = (inspect.getdoc(source) or "").partition(title)[2]
    for name, text in _MEANING.findall(listed.partition("\n\n")[0]):
      meanings[name] = " ".join(text.split())
  return {name: meanings[name] for name in arguments(make) if name in meanings}


def _parameters(make: Callable) -> dict[str, Argument]:
  """Returns what a `make` takes as it is written, groups whole."""
  hints = typing.get_type_hints(make, include_extras=True)
  written = inspect.signature(inspect.unwrap(make)).parameters.items()
  return {k: _argument(k, p.default, hints.get(k, Any)) for k, p in written}


def _groups(make: Callable) -> dict[str, Argument]:
  written = _parameters(make).items()
  return {k: p for k, p in written if isinstance(p.check, Group)}


def _argument(name: str, default: Any, hint: Any) -> Argument:
  if typing.get_origin(hint) is Annotated:
    return Argument(name, default, hint.__origin__, hint.__metadata__[0])
  return Argument(name, default, hint, None)


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

  It then takes the fields of its groups in place of the groups.

  Raises (when called):
    ValueError: naming the algorithm, the argument, its value and what it may
      be. Traced numbers pass: their values are not known.
  """
  schema, groups = arguments(make), _groups(make)
  label = make.__module__.rpartition(".")[2]

  @functools.wraps(make)
  def checked(*args, **kwargs):
    for name, value in (*zip(schema, args, strict=False), *kwargs.items()):
      if name not in schema:
        raise ValueError(
          f"{label} has no argument {name!r}: {nearest(name, schema)}"
        )
      _check(f"{label}.{name}", schema[name], value)
    for name, group in groups.items():
      own = {k: kwargs.pop(k) for k in group.check.fields if k in kwargs}
      kwargs[name] = dataclasses.replace(group.default, **own)
    return make(*args, **kwargs)

  checked.__signature__ = _signature(schema)
  return checked


def _signature(schema: dict[str, Argument]) -> inspect.Signature:
  """Returns what a checked `make` takes, for `help` and the like."""
  return inspect.Signature(
    inspect.Parameter(
      *(a.name, inspect.Parameter.KEYWORD_ONLY),
      default=a.default,
      annotation=a.base,
    )
    for a in schema.values()
  )


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
  return kind if argument.check is None else f"{kind} {argument.check}"
