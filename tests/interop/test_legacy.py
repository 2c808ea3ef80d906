"""Files of before PyTorch 1.6 are read as PyTorch reads them."""

import numpy as np
import pytest

from bdjax.interop import archive, refusals

NUMBERS = np.arange(6, dtype=np.float32)
HALVES = np.array([0x3F80, 0xC000], np.uint16)  # upper halves of 1 and -2
STORAGES = {"9": (6, NUMBERS.tobytes()), "10": (2, HALVES.tobytes())}


def tensor(forge, kind, key, count, **shape):
  return forge.tensor(kind, key, count, stored=forge.OldStored, **shape)


def sound(forge):
  turned = {"size": (3, 2), "stride": (1, 3)}
  return {
    "a": tensor(forge, "FloatStorage", "9", 6, size=(2, 3), stride=(3, 1)),
    "turned": tensor(forge, "FloatStorage", "9", 6, **turned),
    "half": tensor(forge, "BFloat16Storage", "10", 2),
    "epoch": 3,
  }


def test_values_and_tensors_come_back(forge, put):
  found = archive.load(put(forge.old(sound(forge), STORAGES), "a.pth"))
  np.testing.assert_array_equal(found["a"], NUMBERS.reshape(2, 3))
  np.testing.assert_array_equal(found["turned"], NUMBERS.reshape(2, 3).T)
  np.testing.assert_array_equal(found["half"], np.float32([1, -2]))
  assert found["half"].dtype == np.float32 and found["epoch"] == 3


def test_a_file_cut_off_anywhere_is_refused(forge, put):
  raw = forge.old(sound(forge), STORAGES)
  for end in range(len(forge.MAGIC), len(raw), 7):
    with pytest.raises(refusals.Refused):
      archive.load(put(raw[:end]))
