"""What stands for numpy's globals in a PyTorch file, and checks of sizes.

What is compared with a word is seen to be one first: arrays compare otherwise.
"""

import math
from typing import Any

import numpy as np

from bdjax.interop._members import BROKEN
from bdjax.interop._values import Name, Pending
from bdjax.interop.refusals import Refused

_NUMPY = frozenset("b1 i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8".split())
_DIMENSIONS = 16
_LARGEST = 2**31  # numbers in an empty array's other dimensions


def senseless(what: object) -> Refused:
  return Refused(BROKEN.format(f"its description of {what} makes no sense"))


def naturals(values: tuple) -> bool:
  return all(type(value) is int and value >= 0 for value in values)


def count(size: tuple) -> int:
  """Returns how many numbers an array of that size has, if it can be one."""
  if len(size) > _DIMENSIONS or not naturals(size):
    raise senseless("an array's size")
  count = math.prod(size)
  if not count and math.prod(n or 1 for n in size) > _LARGEST:
    raise senseless("an array's size")
  return count


def dtype(arguments: tuple) -> Pending:
  match arguments:
    case (str(code), *_) if code in _NUMPY:
      return Pending(lambda state: _ordered(np.dtype(code), state))
    case _:
      raise senseless("a numpy type")


def _ordered(dtype: np.dtype, state: Any) -> np.dtype:
  match state:
    case (int(), str("<" | ">" | "|" | "=" as order), *_):
      return dtype.newbyteorder(order)
    case _:
      raise senseless("a numpy type")


def array(arguments: tuple) -> Pending:
  match arguments:
    case (Name("numpy", "ndarray"), *_):
      return Pending(_filled)
    case _:
      raise senseless("a numpy array")


def _filled(state: Any) -> np.ndarray:
  match state:
    case (int(), tuple(size), np.dtype() as dtype, bool(columns), bytes(raw)):
      pass
    case _:
      raise senseless("a numpy array")
  if count(size) * dtype.itemsize != len(raw):
    raise senseless("a numpy array")
  order = "F" if columns else "C"
  return np.frombuffer(raw, dtype).reshape(size, order=order)


def scalar(arguments: tuple) -> Any:
  match arguments:
    case (np.dtype() as dtype, bytes(raw)) if len(raw) == dtype.itemsize:
      return np.frombuffer(raw, dtype)[0].item()
    case _:
      raise senseless("a numpy number")
