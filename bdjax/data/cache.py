"""Keeps decoded arrays on disk, so that a second start is fast.

A digest beside them tells whether they are still what was decoded. Where they
cannot be kept, a run goes on without.
"""

import functools
import hashlib
from pathlib import Path

import numpy as np

from bdjax.data.places import Source
from bdjax.machine import notes, storage


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
      `storage.cache`. What was damaged or changed in it is written anew.

  Returns:
    images [N, H, W, C] uint8 and labels [N] int32.
  """
  place = cache_dir or storage.cache("decoded")
  folder = storage.local(place, "the cache of decoded images").expanduser()
  key = hashlib.sha256(f"{source.identity} {shape}".encode()).hexdigest()[:16]
  stem = (
    f"{''.join(c if c.isalnum() else '_' for c in name)[-40:]}-{split}-{key}"
  )
  arrays = _load(folder / stem, shape)
  if arrays is None:
    arrays = source.read()
    save = functools.partial(_save, folder / stem, arrays)
    notes.keep("decoded images", folder, save)
  return arrays


def digest(*arrays: np.ndarray) -> str:
  """Returns the sha256 of arrays' types, shapes and numbers, in hex."""
  hasher = hashlib.sha256()
  for array in arrays:
    array = np.ascontiguousarray(array)
    hasher.update(f"{array.dtype.str} {array.shape}".encode())
    hasher.update(array.data)
  return hasher.hexdigest()


def _paths(stem: Path) -> tuple[Path, Path, Path]:
  """Returns where the images, the labels and the digest of both lie."""
  ends = "-image.npy", "-label.npy", ".sha256"
  return tuple(stem.with_name(stem.name + end) for end in ends)


def _save(stem: Path, arrays: tuple[np.ndarray, np.ndarray]) -> None:
  *paths, last = _paths(stem)
  for path, array in zip(paths, arrays, strict=True):
    with storage.replacing(path) as new, new.open("wb") as file:
      np.save(file, array)
  storage.write(last, digest(*arrays))


def _load(
  stem: Path, shape: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray] | None:
  *paths, last = _paths(stem)
  try:
    image, label = (np.load(path, allow_pickle=False) for path in paths)
    known = last.read_text()
  except Exception:  # damaged files make numpy raise nearly anything
    return None
  sound = (
    image.dtype == np.uint8
    and label.dtype == np.int32
    and image.shape == (*label.shape, *shape)
    and digest(image, label) == known
  )
  return (image, label) if sound else None
