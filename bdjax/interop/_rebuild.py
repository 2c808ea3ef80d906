"""What stands for the globals in a PyTorch file: numbers in, arrays out.

The names are those that files of torch.save and of the field's benchmarks use
for tensors, numpy arrays and numpy scalars, and all others that PyTorch's own
weights-only loader allows. Each is answered by a function of ours on checked
arguments, or by an `Inert` where no weights can come of it. Arrays are views of
what was read wherever they can be; copies are counted and may not exceed twice
the file.
What is compared with a word is seen to be one first: arrays compare otherwise.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bdjax.interop import _names, _numpy
from bdjax.interop._members import BROKEN
from bdjax.interop._values import Inert, Name, Purse
from bdjax.interop.refusals import Refused, shown

_SPARE = 2**20  # bytes of copies that even a small file may cause
_COPIES = (
  "expands to several times its own size; save the weights alone, each tensor "
  "with .contiguous()."
)


@dataclass(frozen=True, slots=True)
class _Storage:
  numbers: np.ndarray  # flat


class TensorRebuild:
  """The `Rebuild` of tensors whose numbers are kept apart from the pickle."""

  def __init__(self, raw: Callable[[str, int], bytes], order: str, size: int):
    """Takes where numbers come from.

    Args:
      raw: from a storage's key and size in bytes to these; it raises Refused
        where the file has no such storage.
      order: of bytes in a number, as numpy writes it.
      size: of the file, in bytes.
    """
    self._raw, self._order = raw, order
    self._copies = Purse(2 * size + _SPARE, _COPIES)
    self._read: dict[str, tuple[str, _Storage]] = {}
    self._calls = {
      Name("collections", "OrderedDict"): _mapping,
      Name("collections", "Counter"): _counter,
      Name("collections", "defaultdict"): _default,
      Name("torch", "Size"): _items,
      Name("__builtin__", "bytes"): _no_bytes,
      Name("builtins", "bytes"): _no_bytes,
      Name("_codecs", "encode"): self._encode,
      Name("torch._utils", "_rebuild_tensor_v2"): self._tensor,
      Name("torch._utils", "_rebuild_tensor"): self._tensor,
      Name("torch._utils", "_rebuild_parameter"): _parameter,
      Name("torch._utils", "_rebuild_parameter_with_state"): _parameter,
      Name("torch._utils", "_rebuild_device_tensor_from_numpy"): _parameter,
      Name("torch._tensor", "_rebuild_from_type_v2"): self._typed,
      Name("numpy", "dtype"): _numpy.dtype,
    }
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
      self._calls[Name(module, "_reconstruct")] = _numpy.array
      self._calls[Name(module, "scalar")] = _numpy.scalar
    for module in ("builtins", "__builtin__"):
      for kind in ("set", "frozenset"):
        self._calls[Name(module, kind)] = _items
    for name in _all(_names.INERT):
      self._calls[name] = functools.partial(_unread, Inert(name))
    self._tokens = _all(_names.TOKENS)

  def knows(self, name: Name) -> bool:
    """Returns whether a file may use the name."""
    return name in self._calls or name in self._tokens

  def call(self, name: Name, arguments: tuple) -> Any:
    """Returns what our substitute for the name makes of the arguments."""
    if name not in self._calls:
      raise _numpy.senseless(name)
    return self._calls[name](arguments)

  def storage(self, identity: Any) -> _Storage | Inert:
    """Returns the numbers of a storage, read from its member once."""
    match identity:
      case (str("storage"), Name("torch", kind), str(), _, int(), *_) if (
        kind in _names.UNREAD
      ):
        return Inert(Name("torch", kind))
      case (
        str("storage"),
        Name("torch", kind),
        str(key),
        _,
        int(count),
        *rest,  # None, in files of before 1.6
      ) if kind in _names.STORAGES and (
        not rest or len(rest) == 1 and rest[0] is None
      ):
        pass
      case _:
        raise _numpy.senseless("a storage")
    if key not in self._read:
      self._read[key] = kind, _Storage(self._numbers(kind, key, count))
    known, storage = self._read[key]
    if known != kind or storage.numbers.size != count:
      raise Refused(BROKEN.format(f"storage {shown(key)} is of two kinds"))
    return storage

  def _numbers(self, kind: str, key: str, count: int) -> np.ndarray:
    dtype = np.dtype(_names.STORAGES[kind]).newbyteorder(self._order)
    numbers = np.frombuffer(self._raw(key, count * dtype.itemsize), dtype)
    if kind == "BFloat16Storage":
      self._copies.spend(2 * numbers.nbytes)
      high = numbers.astype(np.uint32)
      return np.left_shift(high, 16, out=high).view(np.float32)
    if not dtype.isnative:
      self._copies.spend(numbers.nbytes)
    return numbers.astype(dtype.newbyteorder("="), copy=False)

  def _tensor(self, arguments: tuple) -> np.ndarray:
    match arguments:
      case (_Storage(numbers), int(offset), tuple(size), tuple(strides), *_):
        pass
      case _:
        raise _numpy.senseless("a tensor")
    count = _numpy.count(size)
    if len(strides) != len(size) or not _numpy.naturals((offset, *strides)):
      raise _numpy.senseless("a tensor")
    # The stride of a dimension of one is never used, and may be anything.
    strides = [s if n != 1 else 0 for n, s in zip(size, strides, strict=True)]
    steps = zip(size, strides, strict=True)
    last = offset + sum((n - 1) * s for n, s in steps) if count else offset - 1
    if last >= numbers.size or count > numbers.size:
      raise Refused(
        BROKEN.format(
          f"a tensor of {shown(size)} reaches outside its storage of "
          f"{numbers.size} numbers, or repeats them"
        )
      )
    return self._view(numbers, offset, size, strides)

  def _typed(self, arguments: tuple) -> np.ndarray | Inert:
    """Returns a tensor that carries attributes, without them."""
    match arguments:
      case (Name("torch._utils", str(kind)) as name, _, tuple(inner), *_) if (
        kind.startswith("_rebuild") and name in self._calls
      ):
        return self._calls[name](inner)
      case _:
        raise _numpy.senseless("a tensor")

  def _view(
    self, numbers: np.ndarray, offset: int, size: tuple, strides: list[int]
  ) -> np.ndarray:
    count = math.prod(size)
    if not count or strides == _rows(size):
      return numbers[offset : offset + count].reshape(size)
    self._copies.spend(count * numbers.itemsize)
    steps = [stride * numbers.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(
      numbers[offset:], size, steps, writeable=False
    ).copy()

  def _encode(self, arguments: tuple) -> bytes:
    match arguments:
      case (str(text), str("latin1" | "latin-1")):
        self._copies.spend(len(text))
      case _:
        raise _numpy.senseless("bytes")
    try:
      return text.encode("latin-1")
    except UnicodeEncodeError:
      raise _numpy.senseless("bytes") from None


def _rows(size: tuple) -> list[int]:
  """Returns the strides of an array whose rows follow each other."""
  strides = [math.prod(size[i + 1 :]) for i in range(len(size))]
  return [s if n != 1 else 0 for n, s in zip(size, strides, strict=True)]


def _mapping(arguments: tuple) -> dict:
  if arguments:
    raise _numpy.senseless("a mapping")
  return {}


def _unread(inert: Inert, arguments: tuple) -> Inert:
  del arguments
  return inert


def _counter(arguments: tuple) -> dict:
  match arguments:
    case ():
      return {}
    case (dict() as counts,):
      return counts
    case _:
      raise _numpy.senseless("a mapping")


def _default(arguments: tuple) -> dict:
  match arguments:
    case () | (None,) | (Name(),):
      return {}
    case _:
      raise _numpy.senseless("a mapping")


def _items(arguments: tuple) -> list | tuple:
  """Returns what a set or a size is made of."""
  match arguments:
    case ():
      return ()
    case (list() | tuple() as items,):
      return items
    case _:
      raise _numpy.senseless("a collection")


def _all(names: dict[str, tuple[str, ...]]) -> set[Name]:
  return {Name(module, name) for module in names for name in names[module]}


def _no_bytes(arguments: tuple) -> bytes:
  if arguments:
    raise _numpy.senseless("bytes")
  return b""


def _parameter(arguments: tuple) -> np.ndarray:
  match arguments:
    case (np.ndarray() as tensor, *_):
      return tensor
    case _:
      raise _numpy.senseless("a parameter")
