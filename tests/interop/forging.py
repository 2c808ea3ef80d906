"""Forges files, byte by byte, and weights, under each code base's names."""

import io
import struct
import zipfile
from typing import Any, NamedTuple

import numpy as np

KINDS = {
  "float32": "FloatStorage",
  "float64": "DoubleStorage",
  "float16": "HalfStorage",
  "int64": "LongStorage",
  "int32": "IntStorage",
  "int16": "ShortStorage",
  "int8": "CharStorage",
  "uint8": "ByteStorage",
  "bool": "BoolStorage",
}


class Global(NamedTuple):
  """A name that the pickle refers to."""

  module: str
  name: str


class Call(NamedTuple):
  """A name called with arguments, and what it is then built with."""

  function: Global
  arguments: tuple
  state: Any = None


class Stored(NamedTuple):
  """A persistent identity: numbers that lie in a member of their own."""

  kind: str
  key: str
  count: int


class OldStored(NamedTuple):
  """The same, as files of before 1.6 have it."""

  kind: str
  key: str
  count: int


class Made(NamedTuple):
  """An object of a class that is made without a call, and its attributes."""

  kind: Global
  state: dict


class Code(NamedTuple):
  """Pickle instructions, as they are."""

  raw: bytes


def _text(text: str) -> bytes:
  raw = text.encode()
  return b"X" + struct.pack("<I", len(raw)) + raw


def _integer(value: int) -> bytes:
  if -(2**31) <= value < 2**31:
    return b"J" + struct.pack("<i", value)
  raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
  return b"\x8a" + bytes([len(raw)]) + raw


def _call(call: Call) -> bytes:
  made = encode(call.function) + encode(call.arguments) + b"R"
  return made if call.state is None else made + encode(call.state) + b"b"


def _stored(stored: Stored) -> bytes:
  kind = Global("torch", stored.kind)
  parts = ("storage", kind, stored.key, "cpu", stored.count)
  return encode(parts) + b"Q"


def _old_stored(stored: OldStored) -> bytes:
  kind = Global("torch", stored.kind)
  parts = ("storage", kind, stored.key, "cpu", stored.count, None)
  return encode(parts) + b"Q"


def _many(values) -> bytes:
  return b"".join(map(encode, values))


ENCODERS = {
  Code: lambda code: code.raw,
  Global: lambda g: f"c{g.module}\n{g.name}\n".encode(),
  Call: _call,
  Stored: _stored,
  OldStored: _old_stored,
  Made: lambda m: encode(m.kind) + b")\x81" + encode(m.state) + b"b",
  str: _text,
  bool: lambda v: b"\x88" if v else b"\x89",
  int: _integer,
  float: lambda v: b"G" + struct.pack(">d", v),
  type(None): lambda v: b"N",
  tuple: lambda v: b"(" + _many(v) + b"t",
  list: lambda v: b"](" + _many(v) + b"e",
  dict: lambda v: b"}(" + _many(x for pair in v.items() for x in pair) + b"u",
}


def encode(value) -> bytes:
  """Returns the instructions that build a value."""
  return ENCODERS[type(value)](value)


def pickled(value) -> bytes:
  """Returns a value as a pickle of protocol 2."""
  return b"\x80\x02" + encode(value) + b"."


def tensor(
  kind, key, count, *, offset=0, size=None, stride=(1,), stored=Stored
):
  """Returns the call that rebuilds a tensor."""
  hooks = Call(Global("collections", "OrderedDict"), ())
  size = (count,) if size is None else size
  return Call(
    Global("torch._utils", "_rebuild_tensor_v2"),
    (stored(kind, key, count), offset, size, stride, False, hooks),
  )


def zipped(members: dict[str, bytes], *, compression=zipfile.ZIP_STORED):
  """Returns a zip file of the members, named as they are."""
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, "w", compression) as file:
    for name, contents in members.items():
      file.writestr(name, contents)
  return buffer.getvalue()


def checkpoint(value, storages=None, **others) -> bytes:
  """Returns a PyTorch file with a value, storages by key, other members."""
  members = {"data.pkl": pickled(value), "byteorder": b"little"}
  members |= {f"data/{key}": raw for key, raw in (storages or {}).items()}
  members |= others
  return zipped({f"archive/{name}": raw for name, raw in members.items()})


def saved(value) -> bytes:
  """Returns a PyTorch file with a value, arrays in it as tensors."""
  storages = {}

  def replaced(part):
    if isinstance(part, dict):
      return {name: replaced(each) for name, each in part.items()}
    if not isinstance(part, np.ndarray):
      return part
    key = str(len(storages))
    storages[key] = part.tobytes()
    stride = tuple(
      s // part.itemsize for s in np.ascontiguousarray(part).strides
    )
    stride = stride[: part.ndim]
    kind = KINDS[part.dtype.name]
    return tensor(kind, key, part.size, size=part.shape, stride=stride)

  return checkpoint(replaced(value), storages)


MAGIC = b"\x80\2\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
MACHINE = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}


def old(value, storages, *, machine=MACHINE, keys=None) -> bytes:
  """Returns a file of before 1.6.

  Args:
    value: with tensors of `OldStored`.
    storages: by key, their count and bytes.
    machine: what it says of the machine that wrote it.
    keys: of the storages, as the file lists them; None for all in order.
  """
  keys = list(storages) if keys is None else keys
  parts = (1001, machine, value, keys)
  numbers = (struct.pack("<q", n) + raw for n, raw in storages.values())
  return MAGIC + b"".join(map(pickled, parts)) + b"".join(numbers)


def bare(code: bytes) -> bytes:
  """Returns a PyTorch file with a pickle and nothing else."""
  return zipped({"archive/data.pkl": code})


STEMS = {"backdoorbench": 3, "kuangliu": 3, "torchvision": 7}


def norm(name: str, channels: int) -> dict:
  leaves = ("weight", "bias", "running_mean", "running_var")
  shapes = {f"{name}.{leaf}": (channels,) for leaf in leaves}
  return shapes | {f"{name}.num_batches_tracked": ()}


def block(name: str, layout: str, before: int, after: int) -> dict:
  activated_first = layout == "backdoorbench"
  shapes = {
    f"{name}.conv1.weight": (after, before, 3, 3),
    f"{name}.conv2.weight": (after, after, 3, 3),
    **norm(f"{name}.bn1", before if activated_first else after),
    **norm(f"{name}.bn2", after),
  }
  if before != after:
    kind = "downsample" if layout == "torchvision" else "shortcut"
    shapes[f"{name}.{kind}.0.weight"] = (after, before, 1, 1)
    if not activated_first:
      shapes |= norm(f"{name}.{kind}.1", after)
  return shapes


def expected(layout: str, *, width=4, classes=5) -> dict:
  """Returns PyTorch's names and shapes, as those code bases define them."""
  stem = STEMS[layout]
  shapes = {"conv1.weight": (width, 3, stem, stem)}
  if layout != "backdoorbench":
    shapes |= norm("bn1", width)
  before = width
  for stage in range(4):
    after = width * 2**stage
    shapes |= block(f"layer{stage + 1}.0", layout, before, after)
    shapes |= block(f"layer{stage + 1}.1", layout, after, after)
    before = after
  head = "fc" if layout == "torchvision" else "linear"
  return shapes | {
    f"{head}.weight": (classes, before),
    f"{head}.bias": (classes,),
  }


def draw(layout: str, **kwargs) -> dict[str, np.ndarray]:
  """Returns weights whose logits neither vanish nor explode."""
  rng = np.random.default_rng(0)
  made = {}
  for name, shape in sorted(expected(layout, **kwargs).items()):
    value = rng.normal(size=shape)
    if len(shape) > 1:
      value /= np.sqrt(np.prod(shape[1:]))
    elif name.endswith("weight") or name.endswith("var"):
      value = 1 + 0.5 * np.tanh(value)
    made[name] = value.astype(np.float32)
    if not shape:
      made[name] = np.array(7)
  return made
