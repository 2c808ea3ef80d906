"""Reads what torch.save writes, with numpy alone and without running anything.

The format: an uncompressed zip file with one pickle, `NAME/data.pkl`, which
refers to members `NAME/data/KEY` for the tensors' numbers. The pickle is run by
a machine of our own (`_machine`) that has no way to call what it names. Members
must match their checksums, which PyTorch writes unless it is told not to.

Memory: at most 5 times the file's size (its numbers once, copies of those that
must be rearranged or widened at most twice, and at most twice again for the
values beside them) and 32 MiB.
"""

from pathlib import Path
from typing import Any, BinaryIO

from bdjax.interop._machine import Machine
from bdjax.interop._members import BROKEN, Members
from bdjax.interop._rebuild import TensorRebuild
from bdjax.interop._values import ROOM
from bdjax.interop.refusals import RESAVE, Refused, about

ZIP = b"PK"
# How torch.save began a file before 1.6: a pickle of this number.
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"


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
    refuse_pickles(file.read(len(_LEGACY)))
    return _load(file)


def refuse_pickles(start: bytes) -> None:
  """Refuses a file that starts as one pickle does, not as a zip file does.

  Raises:
    Refused: it does.
  """
  if start.startswith(_LEGACY):
    raise Refused(
      f"is in PyTorch's format of before 1.6, a bare pickle; {RESAVE}"
    )
  if start.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
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
  if len(pickles) != 1:
    raise Refused(
      BROKEN.format("it is a zip file without the one data.pkl of torch.save")
    )
  prefix = pickles[0].partition("/")[0]
  code = members.read(pickles[0])
  room = ROOM + 2 * members.file_size
  return Machine(code, TensorRebuild(members, prefix), room=room).run()
