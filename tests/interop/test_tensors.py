"""Files by content, weights in their wrappers, and safetensors."""

import json
import os
import stat
import struct

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from bdjax.interop import pytorch, refusals, tensors

WEIGHTS = {"conv.weight": np.arange(4, dtype=np.float32), "n": np.array(3)}


def same(found, wanted):
  assert found.keys() == wanted.keys()
  for name, tensor in wanted.items():
    assert found[name].dtype == tensor.dtype
    np.testing.assert_array_equal(found[name], tensor)


def prefixed(prefix):
  return {f"{prefix}{name}": tensor for name, tensor in WEIGHTS.items()}


@pytest.mark.parametrize(
  "value",
  [
    WEIGHTS,
    prefixed("module."),
    prefixed("_orig_mod.module."),
    prefixed("module._orig_mod."),
    {"model": WEIGHTS, "optimizer": {"state": {0: np.zeros(2)}}},
    {"state_dict": WEIGHTS, "epoch": 3, "best": np.array(0.5)},
    {"net": {"model": prefixed("module.")}},
    {"netG": {"x": np.zeros(2)}, "netC": WEIGHTS},
  ],
  ids=lambda value: ",".join(value),
)
def test_weights_are_found_in_their_wrappers(forge, put, value):
  same(tensors.read(put(forge.saved(value))).tensors, WEIGHTS)


def test_a_prefix_of_some_names_stays(forge, put):
  mixed = prefixed("module.") | {"head": np.zeros(2)}
  same(tensors.read(put(forge.saved(mixed))).tensors, mixed)


def test_a_benchmarks_facts_are_kept(forge, put):
  value = {
    "model_name": "preactresnet18",
    "num_classes": 10,
    "img_size": (32, 32, 3),
    "clean_data": "cifar10",
    "data_path": "./data",
    "model": WEIGHTS,
    "bd_train": {"save_folder_path": "./record"},
  }
  assert tensors.read(put(forge.saved(value))).metadata == {
    "model_name": "preactresnet18",
    "num_classes": 10,
    "img_size": (32, 32, 3),
    "clean_data": "cifar10",
  }


@pytest.mark.parametrize(
  ("name", "fact"),
  [
    ("num_classes", -3),
    ("num_classes", True),
    ("num_classes", 2**40),
    ("img_size", (32, -1)),
    ("img_size", (1,) * 9),
    ("mean", (0.5, float("nan"))),
    ("std", "0.5"),
    ("std", (2**2000,)),
    ("model_name", 18),
    ("model_name", "x" * 999),
  ],
)
def test_odd_facts_are_left_out(forge, put, name, fact):
  value = {"model": WEIGHTS, name: fact}
  assert tensors.read(put(forge.saved(value))).metadata == {}


@pytest.mark.parametrize(
  ("value", "words"),
  [
    ({"epoch": 3, "weird": {"a": 1}}, "but epoch, weird;"),
    ([1], "but list;"),
    ({}, "holds no weights under model, state_dict"),
    ({i: np.zeros(1) for i in range(9)}, "but 0, 1, 2, 3 and 5 more;"),
  ],
)
def test_no_weights(forge, put, value, words):
  with pytest.raises(refusals.Refused, match=words):
    tensors.read(put(forge.saved(value)))


def test_written_files_come_back(tmp_path):
  path = tmp_path / "out.safetensors"
  facts = {
    "model_name": "10",
    "num_classes": 10,
    "img_size": (32, 32, 3),
    "mean": (0.5, 0.25, 0),
    "std": (1.0, 1.0, 1.0),
    "made_by": "bdjax",
  }
  tensors.write(path, WEIGHTS, facts)
  found = tensors.read(path)
  same(found.tensors, WEIGHTS)
  assert found.metadata == facts
  assert [p.name for p in tmp_path.iterdir()] == ["out.safetensors"]


def test_arrays_are_written_whatever_their_strides(tmp_path):
  path = tmp_path / "out.safetensors"
  some = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
  wanted = {
    "t": some.transpose(2, 0, 1),
    "s": some[::-1, ::2],
    "o": some[0, 0, 0],
  }
  tensors.write(path, wanted, {})
  same(tensors.read(path).tensors, {k: np.array(v) for k, v in wanted.items()})


def test_an_existing_file_is_kept_unless_forced(tmp_path):
  path = tmp_path / "out.safetensors"
  path.write_bytes(b"precious")
  with pytest.raises(ValueError, match="exists already"):
    tensors.write(path, WEIGHTS, {})
  assert path.read_bytes() == b"precious"
  tensors.write(path, WEIGHTS, {}, force=True)
  same(tensors.read(path).tensors, WEIGHTS)


def test_a_file_that_appears_meanwhile_is_kept(tmp_path, monkeypatch):
  path = tmp_path / "out.safetensors"

  def slow(arrays, part, metadata):
    save_file(arrays, part, metadata)
    path.write_bytes(b"precious")

  monkeypatch.setattr(tensors, "save_file", slow)
  with pytest.raises(ValueError, match="exists already"):
    tensors.write(path, WEIGHTS, {})
  assert path.read_bytes() == b"precious"
  assert [p.name for p in tmp_path.iterdir()] == ["out.safetensors"]


def test_a_write_that_fails_leaves_nothing(tmp_path):
  path = tmp_path / "out.safetensors"
  path.write_bytes(b"precious")
  with pytest.raises(Exception, match="object"):
    tensors.write(path, {"a": np.array([{}])}, {}, force=True)
  assert path.read_bytes() == b"precious"
  assert [p.name for p in tmp_path.iterdir()] == ["out.safetensors"]
  with pytest.raises(ValueError, match="is not a folder"):
    tensors.write(tmp_path / "no" / "out.safetensors", WEIGHTS, {})


@pytest.mark.parametrize("name", ["out.pt", "out.pth"])
def test_pytorch_writes_its_own_files_and_reads_them(tmp_path, name):
  torch = pytest.importorskip("torch")
  path = tmp_path / name
  tensors.write(path, WEIGHTS, {"num_classes": 10})
  loaded = torch.load(path, weights_only=True)
  same({k: v.numpy() for k, v in loaded.items()}, WEIGHTS)
  found = tensors.read(path)
  same(found.tensors, WEIGHTS)
  assert found.metadata == {}
  with pytest.raises(ValueError, match="exists already"):
    tensors.write(path, WEIGHTS, {})
  tensors.write(path, WEIGHTS, {}, force=True)
  assert [p.name for p in tmp_path.iterdir()] == [name]


def test_without_pytorch_its_files_are_not_written(tmp_path, monkeypatch):
  monkeypatch.setattr(pytorch.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(ValueError, match="install torch, or give .*safetensors"):
    tensors.write(tmp_path / "out.pt", WEIGHTS, {})
  assert not list(tmp_path.iterdir())


def test_bfloat16_becomes_float32(tmp_path):
  wanted = np.float32([1, -2, 0.5])
  path = tmp_path / "half.safetensors"
  save_file({"a": wanted.astype(ml_dtypes.bfloat16)}, path)
  same(tensors.read(path).tensors, {"a": wanted})


def listing(header, body=b"") -> bytes:
  text = header if isinstance(header, bytes) else json.dumps(header).encode()
  return struct.pack("<Q", len(text)) + text + body


def entry(dtype, shape, size):
  return {"a": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}


@pytest.mark.parametrize(
  ("raw", "words"),
  [
    (struct.pack("<Q", 2**62) + b"{}", "cut off or damaged"),
    (struct.pack("<Q", 99) + b"{}", "not a sound safetensors file"),
    (listing(b"{" + b'"a":[' * 9999), "not a sound safetensors file"),
    (listing(entry("F32", [4], 16), b"abcd"), "not a sound safetensors file"),
    (listing(entry("F32", [9], 4), b"abcd"), "not a sound safetensors file"),
    (listing(entry("F32", [-1], 4), b"abcd"), "not a sound safetensors file"),
    (listing(entry("F32", [0, 2**62, 2**62], 0)), "not a sound safetensors"),
    (listing(entry("F32", [1] * 99, 4), b"abcd"), "not a sound safetensors"),
    (listing(entry("F8_E4M3", [4], 4), b"abcd"), "type that numpy lacks"),
    (listing(entry("os.system", [4], 4), b"abcd"), "not a sound safetensors"),
  ],
)
def test_malformed_safetensors(put, raw, words):
  with pytest.raises(refusals.Refused, match=words) as caught:
    tensors.read(put(raw, "suspect.safetensors"))
  said = str(caught.value)
  assert said.endswith(".") and said.isprintable() and len(said) < 600


def test_what_is_not_finite_is_named():
  fine = {"a": np.ones(2), "n": np.array(3)}
  tensors.check_finite(fine)
  bad = {"b": np.array([1, np.nan]), "c": np.array(-np.inf, np.float16)}
  with pytest.raises(ValueError, match=r"2 of 4 tensors .* \(b, c\)"):
    tensors.check_finite(fine | bad)


def test_a_variance_below_zero_is_named():
  """In float32 it makes NaN of all that follows, and class 0 of all images."""
  found = {"bn.running_var": np.array([1, 0.0]), "bn.bias": np.array([-1.0])}
  tensors.check_finite(found)
  found["bn.running_var"] = np.array([1, -0.5])
  with pytest.raises(ValueError, match=r"1 of 2 .* below 0 \(bn.running_var"):
    tensors.check_finite(found)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o007, 0o660)])
def test_a_file_that_is_written_may_be_read_as_others_are(
  tmp_path, umask, mode
):
  path, before = tmp_path / "m.safetensors", os.umask(umask)
  try:
    tensors.write(path, WEIGHTS, {})
  finally:
    os.umask(before)
  assert stat.S_IMODE(path.stat().st_mode) == mode
