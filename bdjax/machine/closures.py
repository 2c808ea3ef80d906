"""What a function is but for its arrays: functions that look alike trace alike.

A method is built anew for every cell, so its functions are other objects each
time, though of the same code, over the same settings, and over arrays of the
same shapes. `described` tells such functions to be alike. It looks at code, at
all that it closes over, and at the functions and values that it names, which a
notebook may have defined anew; installed code, and what bdjax itself names, is
taken to stay as it is. It gives up on what it does not know: an object whose
state may change, or a tracer.
"""

import dataclasses
import enum
import functools
import sys
import sysconfig
import types
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jax.sharding import Mesh, PartitionSpec, Sharding

LARGEST = 2**20  # bytes of a constant that is compared and kept
_PLAIN = (type(None), bool, int, str, bytes, complex, enum.Enum)
_FIXED = (*_PLAIN, type, np.dtype, types.ModuleType)
_FIXED += (Mesh, Sharding, PartitionSpec)
_INSTALLED = tuple({sysconfig.get_path(k) for k in ("stdlib", "purelib")})


class Unknown(Exception):
  """A function holds something of which nobody knows what it does."""


def described(function: Callable) -> tuple[Hashable, list[jax.Array]]:
  """Returns what a function is but for its arrays, and these in a fixed order.

  Functions with equal descriptions, whose arrays do not decide what Python does
  with them, become equal programs of those arrays.

  Raises:
    Unknown: it closes over something that cannot be described.
  """
  seen = _Seen()
  return seen.look(function), seen.arrays


class _Seen:
  """Goes through a function once, and counts what it meets."""

  def __init__(self) -> None:
    self.arrays: list[jax.Array] = []
    self._places: dict[int, int] = {}  # of arrays, by identity
    self._functions: dict[int, int] = {}  # those that may hold themselves

  def look(self, value: Any) -> Hashable:
    if isinstance(value, jax.Array):
      return self._array(value)
    if isinstance(value, _FIXED):
      return type(value), value
    if isinstance(value, float):
      return float, repr(value)  # tells 0.0 from -0.0, and finds nan again
    if isinstance(value, np.ndarray | np.generic):
      return _numpy(np.asarray(value))
    if isinstance(value, types.FunctionType):
      return self._function(value)
    if isinstance(value, types.MethodType):
      return types.MethodType, self.look((value.__func__, value.__self__))
    if isinstance(value, functools.partial):
      return functools.partial, self.look(
        (value.func, value.args, value.keywords)
      )
    if isinstance(value, tuple | list):
      return type(value), *map(self.look, value)
    if isinstance(value, frozenset):
      return frozenset, frozenset(map(self.look, value))
    if isinstance(value, Mapping):
      return type(value), *(
        (self.look(k), self.look(v)) for k, v in value.items()
      )
    if isinstance(value, nn.Module) and value.scope is not None:
      raise Unknown(type(value))  # it is bound to variables
    if dataclasses.is_dataclass(value):
      names = {f.name for f in dataclasses.fields(value)} - {"parent"}
      fields = ((name, getattr(value, name)) for name in sorted(names))
      return type(value), *((name, self.look(x)) for name, x in fields)
    if type(value) is object or _global(value):  # the former has no state
      return "itself", value
    raise Unknown(type(value))

  def _array(self, value: jax.Array) -> Hashable:
    if isinstance(value, jax.core.Tracer):
      raise Unknown(type(value))
    place = self._places.setdefault(id(value), len(self.arrays))
    if place == len(self.arrays):
      self.arrays.append(value)
    return "array", place, jax.typeof(value), value.sharding

  def _function(self, value: types.FunctionType) -> Hashable:
    if id(value) in self._functions:
      return "again", self._functions[id(value)]
    self._functions[id(value)] = len(self._functions)
    cells = [_content(cell) for cell in value.__closure__ or ()]
    return (
      value.__code__,
      id(value.__globals__),
      self.look((value.__defaults__, value.__kwdefaults__, cells)),
      *((name, self.look(named)) for name, named in _named(value)),
    )


def _named(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
  """Yields what a function's code names: functions, and values that change."""
  if _installed(function):
    return
  names = sorted(_names(function.__code__))
  for name in names:
    places, found = function.__globals__, [name]
    if isinstance(places.get(name), types.ModuleType):
      places, found = vars(places[name]), names
    for other in found:
      one = places.get(other)
      if isinstance(one, types.FunctionType):
        if not _installed(one):
          yield f"{name}.{other}", one
      elif other in places and not _kept(places, one):
        yield f"{name}.{other}", one


def _kept(module: Mapping[str, Any], value: Any) -> bool:
  """Returns whether nobody sets a module's value anew.

  Args:
    module: its names.
    value: of one of them.
  """
  home, file = module.get("__name__", ""), module.get("__file__")
  ours = home.partition(".")[0] == "bdjax"
  installed = file is None and home in sys.builtin_module_names
  installed |= file is not None and file.startswith(_INSTALLED)
  return ours or installed or isinstance(value, types.ModuleType)


def _names(code: types.CodeType) -> set[str]:
  inner = [x for x in code.co_consts if isinstance(x, types.CodeType)]
  return set(code.co_names).union(*map(_names, inner))


def _installed(function: types.FunctionType) -> bool:
  return function.__code__.co_filename.startswith(_INSTALLED)


def _content(cell: types.CellType) -> Any:
  try:
    return cell.cell_contents
  except ValueError:  # nothing is in it yet
    return types.CellType


def _numpy(array: np.ndarray) -> Hashable:
  if array.dtype.hasobject or array.nbytes > LARGEST:
    raise Unknown(array.dtype)
  return "numpy", array.dtype.str, array.shape, array.tobytes()


def _global(value: Any) -> bool:
  """Returns whether a module has this very object under its name."""
  module = sys.modules.get(getattr(value, "__module__", None) or "")
  name = getattr(value, "__qualname__", None) or getattr(value, "__name__", "")
  return bool(name) and getattr(module, name, None) is value
