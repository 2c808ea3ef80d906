"""Keeps decoded arrays on disk, so that a second start is fast."""

import hashlib
from pathlib import Path

import numpy as np

from bdjax.data.places import Source
from bdjax.machine import storage
from bdjax.machine.faults import faults


def fetch(
  name: str,
  split: str,
  source: Source,
  shape: tuple[int, int, int],
  cache_dir: str | Path | None = None,
) -> tuple[np.ndarray, np.ndarray]:
  """Returns a split's arrays from the cache, reading its source if need be.

  Args:
    name: of the dataset; with the split, only makes the file names readable.
    split: of the dataset.
    source: what to read; its identity is the key of the cache.
    shape: of the images, (H, W, C).
    cache_dir: the folder; `decoded` in the cache of bdjax by default, see
      `storage.cache`. A damaged pair of files in it is written anew.

  Returns:
    images [N, H, W, C] uint8 and labels [N] int32.
  """
  place = cache_dir or storage.cache("decoded")
  folder = storage.local(place, "the cache of decoded images").expanduser()
  key = hashlib.sha256(f"{source.identity} {shape}".encode()).hexdigest()[:16]
  stem = (
    f"{''.join(c if c.isalnum() else '_' for c in name)[-40:]}-{split}-{key}"
  )
  paths = folder / f"{stem}-image.npy", folder / f"{stem}-label.npy"
  arrays = _load(paths, shape)
  if arrays is None:
    arrays = source.read()
    storage.make(folder)
    for path, array in zip(paths, arrays, strict=True):
      with (
        faults(path, "write"),
        storage.replacing(path) as new,
        new.open("wb") as file,
      ):
        np.save(file, array)
  return arrays


def _load(
  paths: tuple[Path, Path], shape: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray] | None:
  try:
    image, label = (np.load(path, allow_pickle=False) for path in paths)
  except (OSError, ValueError, EOFError):
    return None
  sound = (
    image.dtype == np.uint8
    and label.dtype == np.int32
    and image.shape == (*label.shape, *shape)
  )
  return (image, label) if sound else None
