"""PyTorch's zip format is read as PyTorch reads it."""

import struct
import zipfile

import numpy as np
import pytest

from bdjax.interop import archive
from bdjax.interop._values import Inert
from bdjax.interop.refusals import UnsafeFile

DTYPES = "float32 float64 float16 int64 int32 int16 int8 uint8 bool".split()


@pytest.mark.parametrize("dtype", DTYPES)
def test_reads_every_kind_of_number(forge, put, dtype):
  wanted = np.arange(6).reshape(2, 3).astype(dtype)
  found = archive.load(put(forge.saved({"a": wanted})))["a"]
  assert found.dtype == wanted.dtype
  np.testing.assert_array_equal(found, wanted)


def test_bfloat16_becomes_float32(forge, put):
  # 1, -2 and infinity: the upper halves of their float32 bits
  raw = struct.pack("<3H", 0x3F80, 0xC000, 0x7F80)
  value = forge.tensor("BFloat16Storage", "0", 3)
  found = archive.load(put(forge.checkpoint(value, {"0": raw})))
  assert found.dtype == np.float32
  np.testing.assert_array_equal(found, np.float32([1, -2, np.inf]))


def test_big_endian_numbers_are_turned_round(forge, put):
  value = forge.tensor("FloatStorage", "0", 2)
  raw = struct.pack(">2f", 1.5, -2)
  file = forge.checkpoint(value, {"0": raw}, byteorder=b"big")
  found = archive.load(put(file))
  assert found.dtype.isnative
  np.testing.assert_array_equal(found, np.float32([1.5, -2]))


@pytest.mark.parametrize(
  ("offset", "size", "stride", "wanted"),
  [
    (0, (3, 2), (1, 3), [[0, 3], [1, 4], [2, 5]]),  # transposed
    (1, (2,), (3,), [1, 4]),  # a column
    (2, (), (), 2),
    (5, (1, 1), (99, 10**12), [[5]]),  # the stride of one step is never used
    (6, (0,), (1,), []),
    (0, (2, 0), (5, 7), [[], []]),
  ],
)
def test_views_of_a_storage(forge, put, offset, size, stride, wanted):
  value = forge.tensor(
    "LongStorage", "0", 6, offset=offset, size=size, stride=stride
  )
  raw = np.arange(6).tobytes()
  found = archive.load(put(forge.checkpoint(value, {"0": raw})))
  np.testing.assert_array_equal(found, np.array(wanted, np.int64))


def test_a_storage_may_be_shared(forge, put):
  tied = forge.tensor("FloatStorage", "0", 2)
  value, raw = {"a": tied, "b": tied}, np.float32([1, 2]).tobytes()
  found = archive.load(put(forge.checkpoint(value, {"0": raw})))
  assert np.shares_memory(found["a"], found["b"])


def test_plain_values_come_back(forge, put):
  value = {
    "name": "größer",
    "sizes": (32, 32, 3),
    "rates": [0.5, -1, 2**40, None, True],
    "deeper": {3: {"path": "a.png"}},
  }
  assert archive.load(put(forge.checkpoint(value))) == value


def test_state_dict_with_versions_and_parameters(forge, put):
  mapping = forge.Global("collections", "OrderedDict")
  weight = forge.tensor("FloatStorage", "0", 1)
  rebuild = forge.Global("torch._utils", "_rebuild_parameter")
  hooks = forge.Call(mapping, ())
  parameter = forge.Call(rebuild, (weight, True, hooks))
  code = forge.encode(forge.Call(mapping, ())) + b"("
  code += forge.encode("w") + forge.encode(parameter) + b"u"
  code += forge.encode({"_metadata": {"": {"version": 1}}}) + b"b"
  raw = np.float32([7]).tobytes()
  found = archive.load(put(forge.checkpoint(forge.Code(code), {"0": raw})))
  assert found == {"w": np.float32([7])}


@pytest.mark.parametrize("module", ["numpy.core", "numpy._core"])
def test_numpy_arrays_and_numbers(forge, put, module):
  encode = forge.Global("_codecs", "encode")
  numbers = np.array([-1, 258])
  text = numbers.tobytes().decode("latin-1")
  dtype = forge.Call(
    forge.Global("numpy", "dtype"),
    ("i8", False, True),
    (3, "<", None, None, None, -1, -1, 0),
  )
  contents = forge.Call(encode, (text, "latin1"))
  start = (
    forge.Global("numpy", "ndarray"),
    (0,),
    forge.Call(encode, ("b", "latin1")),
  )
  name = f"{module}.multiarray"
  array = forge.Call(
    forge.Global(name, "_reconstruct"),
    start,
    (1, (2, 1), dtype, False, contents),
  )
  eight = forge.Call(encode, (text[8:], "latin1"))
  number = forge.Call(forge.Global(name, "scalar"), (dtype, eight))
  found = archive.load(
    put(forge.checkpoint({"array": array, "number": number}))
  )
  np.testing.assert_array_equal(found["array"], [[-1], [258]])
  assert type(found["number"]) is int and found["number"] == 258


def test_remembered_values_are_completed_ones(forge, put):
  # numpy's types are remembered before they are told their order of bytes
  code = b"cnumpy\ndtype\n" + forge.encode(("f4", False, True)) + b"Rq\x05"
  code += forge.encode((3, ">", None, None, None, -1, -1, 0)) + b"bh\x05\x86"
  first, again = archive.load(put(forge.checkpoint(forge.Code(code))))
  assert first == again == np.dtype(">f4")


def test_newer_pickle_protocols(forge, put):
  code = b"\x80\x04\x95" + bytes(8) + b"}\x94\x8c\x01a\x94K\x07s."
  file = forge.zipped({"m/data.pkl": code})
  assert archive.load(put(file)) == {"a": 7}


def test_zip64_lists_are_followed(forge, put):
  raw = forge.checkpoint({"a": 7})
  at = raw.rindex(b"PK\5\6")
  count, size, start = struct.unpack_from("<H2I", raw, at + 10)
  wide = struct.pack(
    "<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, *[count] * 2, size, start
  )
  locator = struct.pack("<4sIQI", b"PK\6\7", 0, at, 1)
  end = struct.pack(
    "<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 2**32 - 1, 2**32 - 1, 0
  )
  assert archive.load(put(raw[:at] + wide + locator + end)) == {"a": 7}


def test_large_members_have_their_size_in_a_zip64_field(forge, put):
  raw = forge.checkpoint({"a": 7})
  with zipfile.ZipFile(put(raw)) as file:
    info = file.getinfo("archive/byteorder")
  at = raw.index(b"archive/byteorder", info.header_offset + 60) - 46
  entry = bytearray(raw[at : at + 46])
  size, extra = info.file_size, struct.pack("<2H2Q", 1, 16, 6, 6)
  assert size == 6
  entry[20:28] = b"\xff" * 8
  entry[30:32] = struct.pack("<H", len(extra))
  name_end = at + 46 + len("archive/byteorder")
  raw = (
    raw[:at] + bytes(entry) + raw[at + 46 : name_end] + extra + raw[name_end:]
  )
  end = raw.rindex(b"PK\5\6")
  grown = struct.unpack_from("<I", raw, end + 12)[0] + len(extra)
  raw = raw[: end + 12] + struct.pack("<I", grown) + raw[end + 16 :]
  assert archive.load(put(raw)) == {"a": 7}


def test_what_lies_beside_weights_is_read_or_left_out(forge, put):
  """All that PyTorch's weights-only loader allows, and namespaces."""
  name, raw = forge.Global, np.float32([7]).tobytes()
  weight = forge.tensor("FloatStorage", "0", 1)
  attributes = (name("torch._utils", "_rebuild_tensor_v2"), None)
  unread = forge.tensor("UntypedStorage", "1", 9).arguments
  value = {
    "weight": weight,
    "typed": forge.Call(
      name("torch._tensor", "_rebuild_from_type_v2"),
      (*attributes, weight.arguments, {}),
    ),
    "milestones": forge.Call(name("collections", "Counter"), ({100: 1},)),
    "default": forge.Call(
      name("collections", "defaultdict"), (name("builtins", "list"),)
    ),
    "size": forge.Call(name("torch", "Size"), ((2, 3),)),
    "set": forge.Call(name("__builtin__", "set"), ([1, 2],)),
    "newer set": forge.Code(b"\x8f(K\1K\2\x90"),
    "device": forge.Call(name("torch", "device"), ("cuda", 0)),
    "dtype": name("torch", "float32"),
    "args": forge.Made(name("argparse", "Namespace"), {"lr": 0.1}),
    "path": forge.Call(name("pathlib", "PosixPath"), ("/", "data")),
    "sparse": forge.Call(
      name("torch._utils", "_rebuild_sparse_tensor"), (1, 2)
    ),
    "other": forge.Call(name("torch._utils", "_rebuild_tensor_v3"), unread),
    "keys": forge.Code(b"}(G" + bytes(8) + b"K\1NK\2K\3K\4u"),
  }
  found = archive.load(put(forge.checkpoint(value, {"0": raw})))
  assert found["weight"] == found["typed"] == np.float32([7])
  assert found["milestones"] == {100: 1} and found["default"] == {}
  assert found["size"] == (2, 3) and found["set"] == found["newer set"] == [
    1,
    2,
  ]
  assert found["keys"] == {3: 4}  # those of 0.0 and None are left out
  for unread in ("device", "args", "path", "sparse", "other"):
    assert isinstance(found[unread], Inert)


@pytest.mark.parametrize("protocol", [2, 4])
def test_reads_what_pytorch_writes(tmp_path, protocol):
  torch = pytest.importorskip("torch")
  net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
  half = torch.arange(6.0).reshape(2, 3).T.to(torch.bfloat16)
  value = {
    "model": net.state_dict(),
    "img_size": (32, 32, 3),
    "indices": np.arange(3),
    "empty": np.zeros(0),
    "images": {np.int64(3): {"path": "a", "other_info": [1, 2]}},
    "half": half,
    "parameter": torch.nn.Parameter(torch.ones(2)),
    "optimizer": torch.optim.SGD(net.parameters(), 0.1).state_dict(),
  }
  torch.save(value, tmp_path / "a.pt", pickle_protocol=protocol)
  found = archive.load(tmp_path / "a.pt")
  for name, wanted in net.state_dict().items():
    np.testing.assert_array_equal(found["model"][name], wanted.numpy())
  np.testing.assert_array_equal(found["half"], half.float().numpy())
  np.testing.assert_array_equal(found["parameter"], [1, 1])
  np.testing.assert_array_equal(found["indices"], [0, 1, 2])
  assert found["empty"].shape == (0,)
  assert found["images"] == value["images"]
  assert found["img_size"] == (32, 32, 3)
  assert found["optimizer"]["param_groups"][0]["lr"] == 0.1


def test_what_pytorch_writes_besides_weights_is_refused(tmp_path):
  torch = pytest.importorskip("torch")
  net, path = torch.nn.Linear(2, 2), tmp_path / "a.pt"
  torch.save(net, path)
  with pytest.raises(UnsafeFile, match="torch.nn.modules.linear.Linear"):
    archive.load(path)


def test_reads_what_pytorch_wrote_before_1_6(tmp_path):
  torch = pytest.importorskip("torch")
  net, path = torch.nn.Linear(2, 3), tmp_path / "a.pth"
  torch.save(net.state_dict(), path, _use_new_zipfile_serialization=False)
  np.testing.assert_array_equal(
    archive.load(path)["weight"], net.weight.detach().numpy()
  )
