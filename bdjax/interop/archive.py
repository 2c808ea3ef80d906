"""Reads what torch.save writes, with numpy alone and without running anything.

The format: an uncompressed zip file with one pickle, `NAME/data.pkl`, which
refers to members `NAME/data/KEY` for the tensors' numbers. The pickle is run by
a machine of our own (`_machine`) that has no way to call what it names. Members
must match their checksums, which PyTorch writes unless it is told not to.
Files of before 1.6 have another format; see `_legacy`.

Memory: at most 5 times the file's size (its numbers once, copies of those that
must be rearranged or widened at most twice, and at most twice again for the
values beside them) and 32 MiB.
"""

from pathlib import Path
from typing import Any, BinaryIO

from bdjax.interop import _legacy
from bdjax.interop._machine import Machine
from bdjax.interop._members import BROKEN, Members
from bdjax.interop._rebuild import TensorRebuild
from bdjax.interop._values import ROOM
from bdjax.interop.refusals import RESAVE, Refused, about, shown

ZIP = b"PK"
_PICKLES = tuple(b"\x80%c" % protocol for protocol in range(2, 6))
_ORDERS = {b"little": "<", b"big": ">"}


def load(path: Path) -> Any:
  """Returns what a PyTorch file holds: plain values, and tensors as arrays.

  Arrays may be read-only, and keep their type, except that bfloat16 becomes
  float32.

  Args:
    path: a `.pt` or `.pth` file.

  Raises:
    UnsafeFile: it names a global that no tensor needs; says which.
    Refused: it is damaged, of another format, or too large; says what to do.
  """
  with about(path), open(path, "rb") as file:
    start = file.read(len(_legacy.MAGIC))
    if start == _legacy.MAGIC:
      return _legacy.load(file)
    _refuse_pickles(start)
    return _load(file)


def is_one(start: bytes) -> bool:
  """Returns whether a file that starts so is PyTorch's, or a bare pickle."""
  return start.startswith((ZIP, *_PICKLES))


def _refuse_pickles(start: bytes) -> None:
  if start.startswith(_PICKLES):
    raise Refused(f"is a bare pickle, which could run any code; {RESAVE}")


def _load(file: BinaryIO) -> Any:
  members = Members(file)
  pickles = [
    name
    for name in members
    if name.endswith("/data.pkl") and name.count("/") == 1
  ]
  if any(name.endswith("/constants.pkl") for name in members):
    raise Refused(f"is a TorchScript program, not weights; {RESAVE}")
  if len(pickles) != 1 and any(name.endswith(".npy") for name in members):
    raise Refused(
      "holds NumPy arrays and is no PyTorch file; give what torch.save or "
      "safetensors wrote."
    )
  if len(pickles) != 1:
    raise Refused(
      BROKEN.format("it is a zip file without the one data.pkl of torch.save")
    )
  prefix = pickles[0].partition("/")[0]
  code = members.read(pickles[0])
  room = ROOM + 2 * members.file_size
  return Machine(code, _rebuild(members, prefix), room=room).run()


def _rebuild(members: Members, prefix: str) -> TensorRebuild:
  """Returns what stands for a file's globals.

  Args:
    members: of the file.
    prefix: the folder within that holds the storages.
  """
  order = f"{prefix}/byteorder"
  byteorder = members.read(order) if order in members else b"little"
  if byteorder not in _ORDERS:
    raise Refused(
      BROKEN.format(f"its byte order {shown(byteorder[:20])} is unknown")
    )

  def raw(key: str, size: int) -> bytes:
    member = f"{prefix}/data/{key}"
    held = members.size(member) if member in members else None
    if size != held:
      raise Refused(
        BROKEN.format(
          f"storage {shown(key)} should hold {size} bytes and has {held or 0}"
        )
      )
    return members.read(member)

  return TensorRebuild(raw, _ORDERS[byteorder], members.file_size)
