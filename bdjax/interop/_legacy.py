"""Reads what torch.save wrote before PyTorch 1.6, without running anything.

The format: five pickles, one after the other (a number, a version, facts of the
machine, the value, the keys of its storages), then each storage's numbers in
the order of the keys, after their count in 8 bytes. The value refers to numbers
that only follow it, so its pickle is run twice: for its end, and for its value.
"""

import os
import struct
from typing import Any, BinaryIO

import numpy as np

from bdjax.interop._machine import CODE, Machine
from bdjax.interop._members import BROKEN
from bdjax.interop._names import STORAGES
from bdjax.interop._rebuild import TensorRebuild
from bdjax.interop._values import ROOM
from bdjax.interop.refusals import Refused, shown

MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def load(file: BinaryIO) -> Any:
  """Returns what a file holds, plain values and tensors as arrays.

  Raises:
    UnsafeFile: it names a global that no tensor needs; says which.
    Refused: it is damaged, of another format, or too large; says what to do.
  """
  size = os.fstat(file.fileno()).st_size
  absent = TensorRebuild(_absent, "<", size)
  offset, version = _run(file, len(MAGIC), absent)
  offset, machine = _run(file, offset, absent)
  little = isinstance(machine, dict) and machine.get("little_endian") is True
  if type(version) is not int or not little:
    raise Refused(BROKEN.format("its version or order of bytes is unknown"))
  sizes = _Sizes(size)
  start, (offset, _) = offset, _run(file, offset, sizes)
  offset, keys = _run(file, offset, absent)
  texts = [k for k in keys if isinstance(k, str)] if type(keys) is list else []
  if sorted(texts) != sorted(sizes.held):
    raise Refused(BROKEN.format("it lists other storages than its value has"))
  places = _places(file, offset, texts, sizes.held)

  def raw(key: str, count: int) -> bytes:
    file.seek(places[key])
    return file.read(count)

  return _run(file, start, TensorRebuild(raw, "<", size))[1]


class _Sizes(TensorRebuild):
  """Notes which storages a value has, and gives arrays that take no memory."""

  def __init__(self, size: int):
    super().__init__(_absent, "<", size)
    self._left = size
    self.held: dict[str, tuple[int, int]] = {}  # count, bytes

  def _numbers(self, kind: str, key: str, count: int) -> np.ndarray:
    dtype = np.dtype(STORAGES[kind])
    self._left -= count * dtype.itemsize
    if count < 0 or self._left < 0:
      raise Refused(
        BROKEN.format(f"storage {shown(key)} is larger than the file")
      )
    self.held[key] = count, count * dtype.itemsize
    dtype = np.dtype(np.float32) if kind == "BFloat16Storage" else dtype
    return np.broadcast_to(np.zeros(1, dtype), (count,))


def _absent(key: str, size: int) -> bytes:
  raise Refused(BROKEN.format(f"storage {shown(key)} is where none should be"))


def _run(
  file: BinaryIO, offset: int, rebuild: TensorRebuild
) -> tuple[int, Any]:
  """Returns where a pickle ends, and its value."""
  file.seek(offset)
  size = os.fstat(file.fileno()).st_size
  machine = Machine(file.read(CODE), rebuild, room=ROOM + 2 * size)
  value = machine.run()
  return offset + machine.end, value


def _places(
  file: BinaryIO, offset: int, keys: list[str], held: dict[str, tuple[int, int]]
) -> dict[str, int]:
  """Returns where each storage's numbers start."""
  places, size = {}, os.fstat(file.fileno()).st_size
  for key in keys:
    file.seek(offset)
    head = file.read(8)
    count, wanted = held[key]
    places[key] = offset + 8
    offset += 8 + wanted
    if len(head) < 8 or struct.unpack("<q", head)[0] != count or offset > size:
      raise Refused(
        BROKEN.format(f"storage {shown(key)} should hold {count} numbers")
      )
  return places
