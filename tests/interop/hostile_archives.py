"""Zip files that are damaged, inflated or dangerous to unpack.

Each is a function: (folder) -> the file's bytes.
"""

import struct
import zipfile

import forging as f
import numpy as np
from hostile_pickles import Maker, command

SOUND = {"a": np.arange(6, dtype=np.float32), "b": np.ones(4)}
EMPTY = {"archive/data.pkl": b"\x80\2}."}


def also(name: str) -> Maker:
  return lambda at: f.zipped(EMPTY | {name: b"x"})


def changed(where: bytes, offset: int, value: bytes) -> Maker:
  """Returns a maker of a sound file with bytes changed after a mark."""

  def make(at):
    raw = bytearray(f.saved(SOUND))
    start = raw.index(where) + offset
    raw[start : start + len(value)] = value
    return bytes(raw)

  return make


def cut(share: float) -> Maker:
  def make(at):
    raw = f.saved(SOUND)
    return raw[: int(share * len(raw))]

  return make


def compressed(size: int) -> Maker:
  def make(at):
    members = EMPTY | {"archive/data/0": bytes(size)}
    return f.zipped(members, compression=zipfile.ZIP_DEFLATED)

  return make


def nested(at) -> bytes:
  raw = bytes(10**6)
  for depth in range(5):
    members = {f"{depth}/{i}.zip": raw for i in range(10)}
    raw = f.zipped(members, compression=zipfile.ZIP_DEFLATED)
  return raw


def overlapping(at) -> bytes:
  """Returns a file whose members all are the same bytes."""
  raw = f.zipped({f"archive/{i}": bytes(1000) for i in range(20)})
  entry, moved = raw.index(b"PK\1\2"), bytearray(raw)
  while raw[entry : entry + 4] == b"PK\1\2":
    moved[entry + 20 : entry + 28] = struct.pack("<2I", 9000, 9000)
    moved[entry + 42 : entry + 46] = bytes(4)
    entry += 46 + struct.unpack_from("<H", raw, entry + 28)[0]
  return bytes(moved)


def twice(at) -> bytes:
  raw = f.checkpoint({}, extra1=b"", extra2=b"")
  return raw.replace(b"extra2", b"extra1")


def many(at) -> bytes:
  return f.zipped({f"archive/data/{i}": b"" for i in range(20_001)})


def zip64(size: int, start: int, locator: int | None = None) -> Maker:
  """Returns a maker of a file whose list of members lies somewhere else."""

  def make(at):
    raw = f.checkpoint({})
    end = raw.rindex(b"PK\5\6")
    wide = struct.pack(
      "<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, size, start
    )
    where = struct.pack("<4sIQI", b"PK\6\7", 0, locator or end, 1)
    last = b"PK\5\6" + bytes(4) + b"\xff" * 12 + bytes(2)
    return raw[:end] + wide + where + last

  return make


def held(kind: str, key: str, count: int, **shape) -> Maker:
  """Returns a maker of a file with one tensor, of a storage of 24 bytes."""
  tensor = f.tensor(kind, key, count, **shape)
  return lambda at: f.checkpoint({"a": tensor}, {"0": bytes(24)})


def sized(*size, stride=None, offset=0) -> Maker:
  stride = (1,) * len(size) if stride is None else stride
  shape = {"size": size, "stride": stride, "offset": offset}
  return held("FloatStorage", "0", 6, **shape)


def transposed(at) -> bytes:
  turned = {"size": (1000, 1000), "stride": (1, 1000)}
  once = f.tensor("FloatStorage", "0", 10**6, **turned)
  value = {str(i): once for i in range(500)}
  return f.checkpoint(value, {"0": bytes(4 * 10**6)})


def two_kinds(at) -> bytes:
  kinds = ("FloatStorage", "IntStorage")
  return f.checkpoint(
    [f.tensor(kind, "0", 6) for kind in kinds], {"0": bytes(24)}
  )


def program(at) -> bytes:
  code = f"import os; os.system({command(at)!r})".encode()
  members = {"m/data.pkl": b"\x80\2N.", "m/constants.pkl": b"\x80\2)."}
  return f.zipped(members | {"m/code/__torch__.py": code})


ZIPS = {
  "a zip file of four bytes": lambda at: b"PK\3\4",
  "an empty zip file": lambda at: b"PK\5\6" + bytes(18),
  "a sound file cut in half": cut(0.5),
  "a sound file without its last bytes": cut(0.99),
  "a member /etc/passwd": also("/etc/passwd"),
  "a member ../../x": also("../../x"),
  "a member a/../../x": also("a/../../x"),
  "a member C:/x": also("C:/x"),
  "a member ..\\x": also("..\\x"),
  "a member without a name": changed(b"PK\1\2", 28, b"\0\0"),
  "a member's name that is no text": changed(b"PK\1\2", 46, b"\xff\xfe"),
  "an encrypted member": changed(b"PK\1\2", 8, b"\1"),
  "a member of a wrong size": changed(b"PK\1\2", 20, b"\xee"),
  "a member that claims 4 GiB": changed(b"PK\1\2", 20, b"\xfe\xff\xff\xff" * 2),
  "a member that starts beyond the end": changed(
    b"PK\1\2", 42, b"\xff\xff\xff\x7f"
  ),
  "a list of members that is garbled": changed(b"PK\1\2", 0, b"XX"),
  "a name longer than the list": changed(b"PK\1\2", 28, b"\xff\xff"),
  "numbers that were changed": changed(np.ones(4).tobytes(), 0, b"\1"),
  "a zip bomb of 20 MB": compressed(2 * 10**7),
  "a zip bomb in a zip bomb, five deep": nested,
  "members that share their bytes": overlapping,
  "a member that occurs twice": twice,
  "20,001 members": many,
  "a list of members of 2 ** 62 bytes": zip64(2**62, 0),
  "a list of members beyond the end": zip64(100, 2**62),
  "an end of the list beyond the end": zip64(100, 0, locator=2**62),
  "two pickles": lambda at: f.zipped(EMPTY | {"other/data.pkl": b"\x80\2}."}),
  "a zip file of text": lambda at: f.zipped({"word/document.xml": b"<w/>"}),
  "a TorchScript program": program,
}
TENSORS = {
  "an order of bytes that is none": lambda at: f.checkpoint(
    {}, byteorder=b"middle"
  ),
  "a storage that is missing": held("FloatStorage", "../0", 6),
  "a storage larger than its member": held("FloatStorage", "0", 2**60),
  "a storage of -6 numbers": held("FloatStorage", "0", -6),
  "a storage of two kinds": two_kinds,
  "a tensor that starts beyond its storage": sized(1, offset=6),
  "a tensor that starts at 2 ** 70": sized(1, offset=2**70),
  "a tensor of 2 ** 62 x 4 numbers": sized(*(2**62,) * 4),
  "a tensor of 10 ** 12 times one number": sized(10**6, 10**6, stride=(0, 0)),
  "a tensor of -1 numbers": sized(-1),
  "a tensor that walks backwards": sized(2, stride=(-1,)),
  "an empty tensor of 2 ** 62 rows": sized(0, 2**62),
  "a tensor of 40 dimensions": sized(*(1,) * 40),
  "a tensor of 1.0 numbers": sized(1.0),
  "a tensor copied 500 times": transposed,
}
