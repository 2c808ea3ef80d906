"""A model in several files is read by whichever of them is given."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from bdjax.interop import refusals, tensors

FIRST = "m-00001-of-00002.safetensors"
SECOND = "m-00002-of-00002.safetensors"
INDEX = "m.safetensors.index.json"


@pytest.fixture
def folder(tmp_path):
  some = {"a": np.arange(3, dtype=np.float32), "x": np.zeros(1)}
  save_file(some, tmp_path / FIRST)
  save_file({"b": np.ones(2)}, tmp_path / SECOND)
  index = {"metadata": {}, "weight_map": {"a": FIRST, "b": SECOND}}
  (tmp_path / INDEX).write_text(json.dumps(index))
  return tmp_path


@pytest.mark.parametrize("name", ["", INDEX, FIRST, SECOND])
def test_folder_index_and_shards_are_one_model(folder, name):
  found = tensors.read(folder / name)
  assert found.tensors.keys() == {"a", "b"}  # x is not listed
  np.testing.assert_array_equal(found.tensors["a"], [0, 1, 2])
  assert found.files == (folder / FIRST, folder / SECOND)


def test_a_folder_of_one_model_is_that_model(folder):
  for name in (INDEX, SECOND):
    (folder / name).unlink()
  (folder / FIRST).rename(folder / "whole.safetensors")
  assert tensors.read(folder).tensors.keys() == {"a", "x"}


def test_shards_without_their_index_are_refused(folder):
  (folder / INDEX).unlink()
  with pytest.raises(refusals.Refused, match=f"{INDEX}, which lists them"):
    tensors.read(folder / FIRST)
  with pytest.raises(refusals.Refused, match="and a folder of m-00001"):
    tensors.read(folder)


@pytest.mark.parametrize(("name", "size"), [("", 0), ("x" * 300, 300)])
def test_names_that_no_file_has_are_refused(folder, name, size):
  (folder / INDEX).write_text(json.dumps({"weight_map": {"a": name}}))
  said = f"{INDEX}: lists a file whose name has {size} bytes, but one has 1 to"
  with pytest.raises(refusals.Refused, match=said):
    tensors.read(folder / INDEX)


@pytest.mark.parametrize("name", ["", INDEX, FIRST, SECOND])
def test_what_a_path_stands_for_is_told(folder, name):
  assert tensors.read(folder / name).place == folder / INDEX
