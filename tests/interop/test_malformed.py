"""Files that are damaged or inflated: a result or one sentence, never more."""

import io
import os
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from bdjax.interop import _machine, _members, archive, refusals, tensors

WEIGHTS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(4)}
PATHS = ["/etc/passwd", "../../x", "a/../b", "C:/x", "..\\x", "\\x"]
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.rest"


@pytest.mark.parametrize(
  ("raw", "words"),
  [
    (LEGACY, "damaged"),
    (pickle.dumps(os.system, 4), "bare pickle"),
    (b"", "neither"),
    (b"\x89HDF\r\n\x1a\n", "neither"),
    (b"PK\3\4", "cut off or damaged"),
    (b"PK\5\6" + bytes(18), "without the one data.pkl"),
  ],
)
def test_other_formats(put, raw, words, refusal):
  assert words in refusal(put(raw))


def test_what_is_no_file(tmp_path, refusal):
  assert "not a file" in refusal(tmp_path)
  assert "cannot be opened" in refusal(tmp_path / "missing.pt")


def test_torchscript(forge, put, refusal):
  members = {"m/data.pkl": b"\x80\x02N.", "m/constants.pkl": b"\x80\x02)."}
  assert "TorchScript" in refusal(put(forge.zipped(members)))


@pytest.mark.parametrize("name", PATHS)
def test_members_outside_a_folder(forge, put, name, refusal):
  members = {"archive/data.pkl": b"\x80\x02}.", name: b"x"}
  assert "outside the folder" in refusal(put(forge.zipped(members)))


def test_compressed_members(forge, put, refusal):
  bomb = {"archive/data.pkl": b"\x80\x02}.", "archive/data/0": bytes(10**7)}
  raw = forge.zipped(bomb, compression=zipfile.ZIP_DEFLATED)
  assert len(raw) < 20_000
  assert "compressed" in refusal(put(raw))


def test_arrays_of_numpy_are_no_damage(put, refusal):
  buffer = io.BytesIO()
  np.savez(buffer, x=np.zeros(3))
  assert "holds NumPy arrays and is no PyTorch" in refusal(
    put(buffer.getvalue())
  )


def test_members_that_overlap(forge, put, refusal):
  raw = forge.zipped({f"archive/{i}": bytes(1000) for i in range(20)})
  entry, moved = raw.index(b"PK\1\2"), bytearray(raw)
  while raw[entry : entry + 4] == b"PK\1\2":
    moved[entry + 20 : entry + 28] = struct.pack("<2I", 9000, 9000)
    moved[entry + 42 : entry + 46] = bytes(4)
    entry += 46 + struct.unpack_from("<H", raw, entry + 28)[0]
  assert "larger than the file" in refusal(put(bytes(moved)))


def test_too_many_members(forge, put, monkeypatch, refusal):
  monkeypatch.setattr(_members, "MEMBERS", 3)
  assert "lists more than" in refusal(put(forge.saved(WEIGHTS)))


def test_sizes_that_differ_though_nothing_is_compressed(forge, put, refusal):
  raw = bytearray(forge.checkpoint({}))
  raw[raw.index(b"PK\1\2") + 20] += 1
  assert "wrong size" in refusal(put(bytes(raw)))


def test_members_beyond_the_end(forge, put, refusal):
  raw = bytearray(forge.checkpoint({}))
  at = raw.index(b"PK\1\2") + 42
  raw[at : at + 4] = struct.pack("<I", len(raw) - 31)
  assert "lies beyond its end" in refusal(put(bytes(raw)))


def test_twice_the_same_member(forge, put, refusal):
  raw = forge.checkpoint({}, extra1=b"", extra2=b"")
  assert "occurs twice" in refusal(put(raw.replace(b"extra2", b"extra1")))


def test_encrypted_members(forge, put, refusal):
  raw = bytearray(forge.checkpoint({}))
  raw[raw.index(b"PK\1\2") + 8] |= 1
  assert "encrypted" in refusal(put(bytes(raw)))


def test_changed_numbers_do_not_match_their_checksum(forge, put, refusal):
  raw = bytearray(forge.saved(WEIGHTS))
  raw[raw.index(np.ones(4).tobytes())] ^= 1
  assert "does not match its checksum" in refusal(put(bytes(raw)))


@pytest.mark.parametrize(
  "change",
  [
    {"size": (7,)},
    {"size": (3,), "stride": (3,)},
    {"offset": 6},
    {"offset": 7, "size": (0,)},
    {"offset": -1},
    {"size": (-1,)},
    {"size": (2,), "stride": (-1,)},
    {"size": (2, 2)},
    {"size": (10**6, 10**6), "stride": (0, 0)},  # one number, repeated
    {"size": (2**62,) * 4, "stride": (1,) * 4},
    {"size": (0, 2**62), "stride": (1, 1)},
    {"size": (1,) * 40, "stride": (1,) * 40},
    {"size": (1.0,)},
    {"size": [1]},
    {"offset": 2**70},
    {"size": (2,), "stride": (2**70,)},
  ],
)
def test_tensors_that_reach_outside_their_storage(forge, put, change, refusal):
  value = {"a": forge.tensor("FloatStorage", "0", 6, **change)}
  said = refusal(put(forge.checkpoint(value, {"0": bytes(24)})))
  assert "damaged" in said


@pytest.mark.parametrize(
  ("kind", "count"),
  [
    ("FloatStorage", 5),
    ("FloatStorage", 2**60),
    ("FloatStorage", -6),
    ("DoubleStorage", 6),
  ],
)
def test_storages_of_another_size(forge, put, kind, count, refusal):
  value = {"a": forge.tensor(kind, "0", count, size=(1,))}
  assert "should hold" in refusal(
    put(forge.checkpoint(value, {"0": bytes(24)}))
  )


def test_storages_that_are_missing_or_of_two_kinds(forge, put, refusal):
  missing = {"a": forge.tensor("FloatStorage", "../0", 6)}
  assert "should hold" in refusal(put(forge.checkpoint(missing)))
  two = [forge.tensor(kind, "0", 6) for kind in ("FloatStorage", "IntStorage")]
  assert "two kinds" in refusal(put(forge.checkpoint(two, {"0": bytes(24)})))


def test_odd_names_of_storages(forge, put, refusal):
  absent = forge.Stored("ByteStorage", "absent", -1)
  assert "should hold" in refusal(put(forge.checkpoint(absent)))
  # an array, compared with a word, is neither equal nor not
  kind, key = forge.tensor("ByteStorage", "0", 24), "0"
  parts = (kind, forge.Global("torch", "ByteStorage"), key, "cpu", 24)
  code = forge.Code(forge.encode(parts) + b"Q")
  file = forge.checkpoint(code, {key: bytes(24)})
  assert "makes no sense" in refusal(put(file))


def test_unknown_order_of_bytes(forge, put, refusal):
  assert "byte order" in refusal(put(forge.checkpoint({}, byteorder=b"middle")))


def peak(path) -> int:
  """Returns the bytes held at most while a file is read or refused."""
  tracemalloc.start()
  try:
    tensors.read(path)
  except refusals.Refused:
    pass
  finally:
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
  return most


def transposed(forge, times: int, order: bytes = b"little"):
  size = {"size": (1000, 1000), "stride": (1, 1000)}
  once = forge.tensor("FloatStorage", "0", 10**6, **size)
  value = {str(i): once for i in range(times)}
  return forge.checkpoint(value, {"0": bytes(4 * 10**6)}, byteorder=order)


def transposed_often(forge):
  return transposed(forge, 50)


def encoded_often(forge):
  text = forge.encode("x" * 10**6) + b"q\x01"
  again = b"c_codecs\nencode\nh\x01" + forge.encode("latin1") + b"\x86R"
  return forge.checkpoint(forge.Code(b"](" + text + again * 500 + b"e"))


def test_copies_are_counted(forge, put, refusal):
  assert len(tensors.read(put(transposed(forge, 2))).tensors) == 2
  for raw in (
    transposed(forge, 3),
    transposed(forge, 2, b"big"),  # turned round, besides
    encoded_often(forge),
  ):
    assert "several times its own size" in refusal(put(raw))


@pytest.mark.parametrize(
  "code",
  [
    b"](" + b"]" * 10**4 + b"e.",
    b"](" + b"}" * 10**4 + b"e.",
    b"](" + b"K\1\x85" * 10**4 + b"e.",
    b"](" + b"M\xff\xff" * 10**4 + b"e.",
    b"](" + b"}K\1K\1s" * 10**4 + b"e.",
    b"N" + b"".join(b"r" + struct.pack("<I", i) for i in range(10**4)) + b".",
    b"(" * 10**4 + b"N" + b"t" * 30 + b".",
    b"X" + struct.pack("<I", 10**5 + 4) + b"a" * 10**5 + b"\xf0\x9f\x98\x80.",
  ],
)
def test_values_pay_for_the_memory_they_take(code):
  plenty = 10**9
  machine = _machine.Machine(code, None, room=plenty)
  tracemalloc.start()
  try:
    machine.run()
  except refusals.Refused as refusal:
    assert "makes no sense" in str(refusal)  # marks are left
  finally:
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
  assert most < plenty - machine._purse._left + 2**17


def test_values_beyond_what_a_file_may_ask_for(
  forge, put, monkeypatch, refusal
):
  path = put(forge.checkpoint(forge.Code(b"](" + b"]" * 10**4 + b"e")))
  assert "holds no weights" in refusal(path)
  monkeypatch.setattr(archive, "ROOM", 0)
  assert "more values than its size allows for" in refusal(path)


def widened(forge):
  value = {"a": forge.tensor("BFloat16Storage", "0", 2 * 10**6)}
  return forge.checkpoint(value, {"0": bytes(4 * 10**6)})


@pytest.mark.parametrize("make", [widened, transposed_often, encoded_often])
def test_memory_stays_within_three_times_the_file(forge, put, make):
  path = put(make(forge))
  assert peak(path) < 3 * path.stat().st_size + 2 * 2**20
