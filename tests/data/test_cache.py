"""Decoded arrays are kept, checked, and made again; or not kept at all."""

import numpy as np
import pytest

from bdjax.data import cache
from bdjax.data.places import Source
from bdjax.machine import notes


@pytest.mark.parametrize("part", ["image", "label"])
@pytest.mark.parametrize(
  "damage", ["truncated", "foreign", "gone", "changed", "endless"]
)
def test_a_damaged_cache_is_rebuilt(tmp_path, part, damage):
  reads = []

  def read():
    reads.append(1)
    return np.full((3, 2, 2, 3), 7, np.uint8), np.arange(3, dtype=np.int32)

  def fetch():
    source = Source("identity", read)
    return cache.fetch("set", "train", source, (2, 2, 3), tmp_path)

  fetch(), fetch()
  assert len(reads) == 1
  (path,) = tmp_path.glob(f"*-{part}.npy")
  if damage == "truncated":
    path.write_bytes(path.read_bytes()[:-5])
  elif damage == "foreign":
    np.save(path, np.zeros((9, 9)))
  elif damage == "changed":  # one pixel or label, and all else in order
    array = np.load(path)
    array[-1] -= 1
    np.save(path, array)
  elif damage == "endless":
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"(3,", b"(%d," % 10**15, 1))
  else:
    path.unlink()
  image, label = fetch()
  assert len(reads) == 2 and (image == 7).all() and label.tolist() == [0, 1, 2]
  fetch()
  assert len(reads) == 2
  assert not list(tmp_path.glob("*.tmp"))


def whole():
  return np.full((2, 2, 2, 3), 7, np.uint8), np.arange(2, dtype=np.int32)


@pytest.fixture
def said(monkeypatch):
  sentences = []
  monkeypatch.setattr(notes, "say", sentences.append)
  return sentences


@pytest.mark.parametrize("place", ["/proc/x", "/dev/null/x", "file/x"])
def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path, said, place):
  (tmp_path / "file").write_text("")
  folder = tmp_path / place  # absolute ones stay as they are
  source = Source("identity", whole)
  image, label = cache.fetch("set", "train", source, (2, 2, 3), folder)
  assert (image == 7).all() and label.tolist() == [0, 1]
  (sentence,) = said
  assert sentence.startswith(f"decoded images cannot be kept in {folder} (")


def test_a_full_disk_stops_nothing(tmp_path, said, monkeypatch):
  def full(*_):
    raise OSError("16 requested and 0 written")  # as numpy says it

  monkeypatch.setattr(cache.np, "save", full)
  source = Source("identity", whole)
  image, _ = cache.fetch("set", "train", source, (2, 2, 3), tmp_path)
  assert (image == 7).all() and "16 requested and 0 written" in said[0]
  assert not list(tmp_path.iterdir())


def test_another_identity_is_another_cache_entry(tmp_path):
  def fetch(identity, value):
    arrays = np.full((1, 2, 2, 3), value, np.uint8), np.zeros(1, np.int32)
    source = Source(identity, lambda: arrays)
    return cache.fetch("set", "train", source, (2, 2, 3), tmp_path)[0].max()

  assert [fetch("a", 1), fetch("b", 2), fetch("a", 3)] == [1, 2, 1]
