"""Loads a dataset by name to the device."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np

from bdjax.data import cache, catalog, folders, labels, stored, synthetic
from bdjax.data.places import Source, root
from bdjax.data.splits import shuffled
from bdjax.types import Dataset

SPLITS = ("train", "test")


def load(
  name: str,
  split: str = "train",
  *,
  images: int | None = None,
  draw: int = 0,
  data_dir: str | Path | None = None,
  cache_dir: str | Path | None = None,
) -> Dataset:
  """Loads a split to the device; the same bytes on every machine.

  Args:
    name: a key of `names()`, perhaps with @SIZE.
    split: "train" or "test"; for ImageNet's subsets test is validation.
    images: only the first so many of a shuffle of the split; for "synthetic"
      any number is generated.
    draw: which shuffle, hence which images; "synthetic" has but one.
    data_dir: folder of the datasets; $TFDS_DATA_DIR or
      ~/tensorflow_datasets by default.
    cache_dir: folder of decoded arrays; $XDG_CACHE_HOME/bdjax/decoded or
      ~/.cache/bdjax/decoded by default.

  Returns:
    images [N, H, W, C] uint8 in stored order, labels [N] int32.

  Raises:
    MissingDataset: the data are not there; says how to get them.
    ValueError: unknown name or split, or more images than the split has.
  """
  base, size = catalog.parse(name)
  if split not in SPLITS:
    raise ValueError(f"unknown split {split!r} of {name!r}: train or test.")
  if images is not None and images < 1:
    raise ValueError(f"images is {images}; give 1 or more, or None for all.")
  if base == "synthetic":
    if size is not None:
      raise ValueError(f"{name!r} cannot be resized; say 'synthetic'.")
    _check_count(name, split, images, synthetic.MOST)
    image, label = synthetic.generate(split, images)
    return _dataset(image, label)
  image, label = _stored(name, split, data_dir, cache_dir)
  if images is None:
    return _dataset(image, label)
  _check_count(name, split, images, len(label))
  rows = shuffled(len(label), seed=draw)[:images]
  return _dataset(image[rows], label[rows])


def enough(
  name: str,
  split: str = "train",
  *,
  draw: int = 0,
  data_dir: str | Path | None = None,
  cache_dir: str | Path | None = None,
) -> int:
  """Returns how many images of a split `load` must take to see every class.

  Args:
    name: as for `load`.
    split: as for `load`.
    draw: as for `load`.
    data_dir: as for `load`.
    cache_dir: as for `load`.
  """
  if catalog.parse(name)[0] == "synthetic":
    return len(synthetic.CLASS_NAMES)  # they take turns
  _, label = _stored(name, split, data_dir, cache_dir)
  order = shuffled(len(label), seed=draw)
  first = np.unique(label[order], return_index=True)[1]
  return int(first.max()) + 1


def _stored(
  name: str,
  split: str,
  data_dir: str | Path | None,
  cache_dir: str | Path | None,
) -> tuple[np.ndarray, np.ndarray]:
  base, _ = catalog.parse(name)
  shape = catalog.info(name, data_dir=data_dir).shape
  source = _source(base, split, shape, data_dir)
  return cache.fetch(base, split, source, shape, cache_dir)


def fingerprint(dataset: Dataset) -> str:
  """Returns 16 hex digits of the sha256 of the images and labels."""
  return cache.digest(dataset.image, dataset.label)[:16]


def _check_count(name: str, split: str, images: int | None, count: int) -> None:
  if images is not None and images > count:
    raise ValueError(
      f"images is {images}, but {name!r} has {count} in {split}; ask for at "
      "most that many."
    )


def _dataset(image: np.ndarray, label: np.ndarray) -> Dataset:
  return Dataset(jnp.asarray(image), jnp.asarray(label))


def _source(
  base: str,
  split: str,
  shape: tuple[int, int, int],
  data_dir: str | Path | None,
) -> Source:
  if base.startswith(catalog.FOLDER):
    path = catalog.folder(base)
    return folders.source(folders.image_folder(path, split), shape)
  if base in folders.IMAGENET:
    return folders.source(folders.imagenet(base, split, data_dir), shape)
  celeba = root(data_dir)[0] / "celeba"
  if base == "celeba8" and (celeba / "attributes.csv").is_file():
    listing = folders.celeba(split, celeba, labels.CELEBA8)
    return folders.source(listing, shape)
  return stored.source(base, split, shape, data_dir)
