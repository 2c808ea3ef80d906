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
import re
import typing
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bdjax.methods import values
from bdjax.methods.values import Choice, Extent, Picture, Range
from bdjax.types import Array, Recipe, Scalar

_MEANING = re.compile(r"^  (\w+): (.*(?:\n {4}.*)*)", re.MULTILINE)


class Group(NamedTuple):
  """Marks a dataclass whose fields are given by their own names.

  Attributes:
    fields: the annotation of each; one that is left out is nobody's to give.
  """

  fields: dict[str, Any]

  @classmethod
  def of(cls, kind: type) -> "Group":
    """Returns the group of all fields of a dataclass, as they are annotated."""
    return cls(typing.get_type_hints(kind, include_extras=True))

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
Some = Annotated[int | None, Range(1, closed=True)]
Cycle = Annotated[int | None, Range(2, closed=True)]  # steps up and down
Image = Annotated[Array | None, Picture(Range(0.0, 1.0, closed=True))]
Added = Annotated[Array | None, Picture(Range(-1.0, 1.0, closed=True))]
Drawing = Annotated[Array | None, Picture()]  # of any range
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

  @property
  def several(self) -> bool:
    """Whether one value of the argument is several, as of `Channels`."""
    return typing.get_origin(self.base) in (tuple, Sequence)

  def __str__(self) -> str:
    """Returns in words what the argument may be."""
    return values.expected(self.base, self.check)


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


def sequences(make: Callable) -> tuple[str, ...]:
  """Returns the names of a `make`'s arguments that are several numbers each."""
  return tuple(k for k, one in arguments(make).items() if one.several)


def meanings(make: Callable) -> dict[str, str]:
  """Returns what docstrings say of a `make`'s arguments, by name.

  Its own Args win over the Attributes of its groups, and these over those of
  what they inherit from.
  """
  kinds = [group.base for group in _groups(make).values()]
  parents = [parent for kind in kinds for parent in reversed(kind.__mro__)]
  texts = [(parent, "Attributes:\n") for parent in parents]
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
  label = make.__name__  # or that of its file, where it is called make
  if label == "make":
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
      fields = {k: kwargs.pop(k) for k in group.check.fields if k in kwargs}
      kwargs[name] = dataclasses.replace(group.default, **fields)
    return make(*args, **kwargs)

  checked.__signature__ = _signature(schema)
  return checked


def _signature(schema: dict[str, Argument]) -> inspect.Signature:
  """Returns what a checked `make` takes, for `help` and the like."""
  return inspect.Signature(
    inspect.Parameter(
      a.name,
      inspect.Parameter.KEYWORD_ONLY,
      default=a.default,
      annotation=a.base,
    )
    for a in schema.values()
  )


def check(label: str, hint: Any, value: Any) -> None:
  """Refuses what is no value of an annotation.

  Args:
    label: of the value, such as train.lr.
    hint: such as `Positive`, `Count` or bool.
    value: a number that is not traced, a string, ...

  Raises:
    ValueError: naming the label, the value and what it may be.
  """
  _check(label, _argument(label, None, hint), value)


def _check(label: str, argument: Argument, value: Any) -> None:
  if isinstance(value, jax.Array | np.ndarray) and argument.base is not int:
    if isinstance(argument.check, Picture) and not isinstance(
      value, jax.core.Tracer
    ):
      _check_pixels(label, argument.check.pixels, np.asarray(value))
    return
  if not values.fits(argument.base, argument.check, value):
    raise ValueError(
      f"{label} is {values.shown(value)}, but must be {argument}"
      f"{values.limit(argument.base, value)}."
    )


def _check_pixels(label: str, wanted: Range | None, value: np.ndarray) -> None:
  """Refuses whole numbers, as bytes are, and a number out of range."""
  if wanted is None:
    return
  what = f"an array of {value.dtype}"
  if not np.issubdtype(value.dtype, np.integer):
    low, high = float(value.min()), float(value.max())
    if low in wanted and high in wanted:
      return
    what = f"an array of numbers from {low:g} to {high:g}"
  raise ValueError(
    f"{label} is {what}, but must hold fractions {wanted}: divide bytes by 255."
  )
