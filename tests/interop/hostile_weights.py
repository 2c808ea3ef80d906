"""Sound containers with weights or facts that make no model, and other files.

Each is a function: (folder) -> the file's bytes, or the path of what it wrote.
"""

import functools
import json
import os
import struct
from pathlib import Path

import forging as f
import numpy as np
from safetensors.numpy import save

LEVELS = {"mean": [0.5], "std": [0.25], "img_size": [8, 8, 3]}
DEEP = 100_000


@functools.cache
def sound() -> dict[str, np.ndarray]:
  """Returns a PreActResNet18's weights, without its counters."""
  drawn = f.draw("backdoorbench", width=4, classes=2)
  return {k: v for k, v in drawn.items() if v.ndim}


def with_(**changed):
  """Returns a maker of a PyTorch file with other weights; . is written _."""
  other = {k.replace("__", "."): v for k, v in changed.items()}
  return lambda at: f.saved(sound() | other)


def saying(**facts):
  return lambda at: f.saved({"model": sound(), **facts})


def listing(header, body: bytes = b""):
  """Returns a maker of a safetensors file with a header of our making."""
  text = header if isinstance(header, bytes) else json.dumps(header).encode()
  return lambda at: struct.pack("<Q", len(text)) + text + body


def entry(dtype: str, shape: list, start: int, end: int) -> dict:
  return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def beside(text: str | bytes):
  """Returns a maker of a sound file with a sidecar."""
  raw = text if isinstance(text, bytes) else text.encode()

  def make(at: Path) -> Path:
    (at / "suspect.json").write_bytes(raw)
    (at / "suspect.pt").write_bytes(f.saved(sound()))
    return at / "suspect.pt"

  return make


def told(**facts):
  return beside(json.dumps(LEVELS | facts))


def linked(target: str):
  def make(at: Path) -> Path:
    (at / "suspect.pt").symlink_to(target)
    return at / "suspect.pt"

  return make


def pipe(at: Path, name: str = "suspect.pt") -> Path:
  os.mkfifo(at / name)
  return at / name


def sparse(start: bytes, size: int = 5 * 2**30):
  """Returns a maker of a large file, of which only the start is stored."""

  def make(at: Path) -> Path:
    with open(at / "suspect.pt", "wb") as file:
      file.write(start)
      file.truncate(size)
    return at / "suspect.pt"

  return make


def old(*, raw=bytes(24), count=6, said=None, keys=None, machine=None, **shape):
  """Returns a maker of a file of before 1.6 with one tensor of six numbers."""
  tensor = f.tensor("FloatStorage", "0", count, stored=f.OldStored, **shape)
  numbers = {"0": (count % 2**62 if said is None else said, raw)}
  machine = f.MACHINE if machine is None else machine
  return lambda at: f.old({"a": tensor}, numbers, machine=machine, keys=keys)


def sharded(index, **files):
  """Returns a maker of an index of shards and of what lies beside it."""

  def make(at: Path) -> Path:
    raw = index if isinstance(index, bytes) else json.dumps(index).encode()
    (at / "m.safetensors.index.json").write_bytes(raw)
    for name, contents in files.items():
      (at / name).write_bytes(contents)
    return at / "m.safetensors.index.json"

  return make


def mapped(place):
  return {"weight_map": {"a": place}}


def floats(size: int) -> bytes:
  return save({"a": np.zeros(size, np.float32)})


NAN = np.full(2, np.nan, np.float32)
WEIGHTS = {
  "weights that are NaN": with_(linear__bias=NAN),
  "weights that are infinite": with_(linear__bias=np.full(2, np.inf, "f4")),
  "weights that float32 cannot hold": with_(linear__bias=np.full(2, 1e300)),
  "weights that are whole numbers": with_(linear__bias=np.ones(2, np.int8)),
  "no classes": with_(
    linear__weight=np.zeros((0, 32), "f4"), linear__bias=np.zeros(0, "f4")
  ),
  "no channels": with_(conv1__weight=np.zeros((0, 3, 3, 3), "f4")),
  "a first layer of 7 x 7": with_(conv1__weight=np.ones((4, 3, 7, 7), "f4")),
  "images of one channel": with_(conv1__weight=np.ones((4, 1, 3, 3), "f4")),
  "a kernel of two dimensions": with_(conv1__weight=np.ones((4, 27), "f4")),
  "a layer of another width": with_(
    layer2__0__conv1__weight=np.ones((8, 5, 3, 3), "f4")
  ),
  "a bias of 16 dimensions": with_(linear__bias=np.ones((1,) * 16, "f4")),
  "a file of no weights": lambda at: f.saved({"epoch": 3, "note": "hello"}),
  "a file of a list": lambda at: f.saved([1, 2]),
  "images of 10 ** 5 pixels a side": saying(
    img_size=(10**5, 10**5, 3), mean=[0.5], std=[0.25]
  ),
  "no normalization": saying(img_size=(8, 8, 3)),
}
UNNAMED = {
  "an architecture that is none": saying(model_name="$(touch was_run)"),
  "an architecture of another kind": saying(model_name="alexnet"),
}


def aliases(at: Path) -> bytes:
  """Returns a file of 24 MB, of which 5,000 names claim all numbers."""
  count = 6 * 10**6
  one = f.tensor("FloatStorage", "x", count)
  raw = np.zeros(count, np.float32).tobytes()
  state = {f"x{i}": one for i in range(5_000)}
  return f.checkpoint(state, {"x": raw})


SLOW = {  # which names every architecture, to find the nearest
  "unknown names": with_(**{"x\x1b[31m": np.ones(2, "f4")}),
  "a tensor per letter": lambda at: f.saved(
    {f"{i}": np.zeros(1, "f4") for i in range(2_000)}
  ),
  "24 MB under 5,000 names": aliases,
}
SIDECARS = {
  "a sidecar that is a list": beside("[1]"),
  "a sidecar that is empty": beside(""),
  "a sidecar that is cut off": beside('{"mean": [0.5'),
  "a sidecar that is no text": beside(b"\xff\xfe\0\1"),
  "a sidecar 100,000 lists deep": beside("[" * DEEP),
  "a sidecar of 3 MB": beside(json.dumps({"mean": [0.5] * 500_000})),
  "a sidecar with a number of 5,000 digits": beside(
    '{"num_classes": ' + "9" * 5_000 + "}"
  ),
  "a sidecar with an unknown word": told(meen=[0.5]),
  "a sidecar with NaN": told(mean=[float("nan")]),
  "a sidecar with 1e400": beside('{"mean": [1e400]}'),
  "a sidecar with text for numbers": told(std="__import__('os')"),
  "a sidecar of five means": told(mean=[0.5] * 5),
  "a sidecar of two means": told(mean=[0.5] * 2),
  "a sidecar with a deviation of 0": told(std=[0]),
  "a sidecar of pixels up to 255": told(mean=[125]),
  "a sidecar with images of -1": told(img_size=[-1, 8]),
  "a sidecar with images of 3000": told(img_size=[3000, 3000, 3]),
}
SAFETENSORS = {
  "a list of tensors of 2 ** 62 bytes": lambda at: (
    struct.pack("<Q", 2**62) + b"{}"
  ),
  "a list of tensors longer than the file": lambda at: (
    struct.pack("<Q", 99) + b"{}"
  ),
  "a list of tensors of 3 MiB": listing(b"{" + b" " * 3 * 2**20 + b"}"),
  "a list of tensors 100,000 deep": listing(b'{"a":' + b"[" * DEEP),
  "a list of tensors that is no JSON": listing(b"{x}"),
  "a list of tensors that is no text": listing(b'{"\xff\xfe": 1}'),
  "a tensor beyond the end": listing({"a": entry("F32", [4], 0, 16)}, b"abcd"),
  "a tensor of another size": listing({"a": entry("F32", [9], 0, 4)}, b"abcd"),
  "a tensor of -1": listing({"a": entry("F32", [-1], 0, 4)}, b"abcd"),
  "a tensor of 2 ** 124": listing({"a": entry("F32", [0, 2**62, 2**62], 0, 0)}),
  "a tensor that ends before it starts": listing(
    {"a": entry("F32", [1], 4, 0)}, b"abcd"
  ),
  "tensors that overlap": listing(
    {"a": entry("F32", [1], 0, 4), "b": entry("F32", [1], 0, 4)}, b"abcd"
  ),
  "a hole between tensors": listing({"a": entry("F32", [1], 4, 8)}, bytes(8)),
  "a type that is none": listing({"a": entry("os", [1], 0, 4)}, b"abcd"),
  "a type that numpy lacks": listing(
    {"a": entry("F8_E4M3", [4], 0, 4)}, b"abcd"
  ),
  "a file that is cut off": lambda at: floats(100)[:-50],
  "a file that goes on": lambda at: floats(100) + bytes(50),
}
SHARDS = {
  "an index that is no JSON": sharded(b"{"),
  "an index 100,000 lists deep": sharded(b"[" * DEEP),
  "an index of nothing": sharded({"weight_map": {}}),
  "an index that is a list": sharded([1]),
  "an index that is a pipe": lambda at: pipe(at, "m.safetensors.index.json"),
  "a shard that is missing": sharded(mapped("x.safetensors")),
  "a shard /etc/passwd": sharded(mapped("/etc/passwd")),
  "a shard ../../x": sharded(mapped("../../x")),
  "a shard ..": sharded(mapped("..")),
  "a shard ..\\x": sharded(mapped("..\\x")),
  "a shard without a name": sharded(mapped("")),
  "a shard of a name of 300 letters": sharded(mapped("x" * 300)),
  "a shard that is a number": sharded(mapped(7)),
  "a shard that is the index": sharded(mapped("m.safetensors.index.json")),
  "a shard that lacks a tensor": sharded(mapped("x"), x=save({})),
  "a shard that calls os.system": sharded(
    mapped("x"), x=f.checkpoint(f.Call(f.Global("os", "system"), ("true",)))
  ),
  "1,001 shards": sharded(
    {"weight_map": {f"{i}": f"{i}.safetensors" for i in range(1001)}}
  ),
}


def huge(at: Path) -> Path:
  size = 4 * 10**10
  start = listing({"a": entry("F32", [size // 4], 0, size)})(at)
  return sparse(start, len(start) + size)(at)


OTHERS = {
  "an empty file": lambda at: b"",
  "a folder": lambda at: at,
  "a file that is not there": lambda at: at / "nowhere.pt",
  "a name of 5,000 letters, as a file": lambda at: at / ("x" * 5_000),
  "a pipe": pipe,
  "a link to /dev/zero": linked("/dev/zero"),
  "a link to itself": linked("suspect.pt"),
  "a link to nothing": linked("nowhere"),
  "5 GiB of zeros": sparse(b""),
  "5 GiB that start like a zip file": sparse(b"PK\3\4"),
  "5 GiB that start like safetensors": sparse(listing({})(None)),
  "a tensor of 40 GB, of which nothing is stored": huge,
  "a bare pickle that calls os.system": lambda at: (
    b"\x80\2cposix\nsystem\nX\4\0\0\0true\x85R."
  ),
  "a bare pickle after the number of PyTorch's old format": lambda at: (
    f.MAGIC + b"\x80\2cposix\nsystem\nX\4\0\0\0true\x85R."
  ),
  "an old format that ends early": old(raw=b"", count=6),
  "an old format of os.system": lambda at: f.old(
    f.Call(f.Global("os", "system"), (f"touch {at / 'was_run'}",)), {}
  ),
  "an old format with a storage of 2 ** 60 numbers": old(count=2**60),
  "an old format with a storage of -1 numbers": old(count=-1),
  "an old format that lists a storage twice": old(keys=["0", "0"]),
  "an old format that lists no storages": old(keys=[]),
  "an old format that lists numbers": old(keys=[0]),
  "an old format of another count": old(said=7),
  "an old format of another order of bytes": old(machine={}),
  "an old format that repeats one number": old(size=(2**40,), stride=(0,)),
  "an HDF5 file": lambda at: b"\x89HDF\r\n\x1a\n" + bytes(99),
  "a gzip file": lambda at: b"\x1f\x8b\x08" + bytes(99),
  "a program": lambda at: b"\x7fELF" + bytes(99),
  "a web page": lambda at: b"<!doctype html><title>404</title>",
  "a pointer of Git LFS": lambda at: (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
  ),
}
