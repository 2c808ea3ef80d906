"""Datasets that are folders of image files.

One folder per class (`image_folder:PATH`, ImageNet), or CelebA's one folder per
split with a table of attributes. The shares of an undivided folder and the
ImageNet classes are drawn by a fixed seed from the sorted names.
"""

import csv
import functools
import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bdjax.data import pictures
from bdjax.data.places import MissingDataset, Source, root
from bdjax.data.splits import shuffled
from bdjax.data.stored import celeba_label

IMAGENET = {"imagenet10": slice(0, 10), "imagenet10_ft": slice(10, 20)}
_IMAGENET_SEED = 10
_TEST_SHARE = 5  # every fifth image of an undivided folder is for testing
_SUFFIXES = {".png", ".jpg", ".jpeg", ".ppm", ".bmp", ".webp"}


class Listing(NamedTuple):
  """The image files of a split.

  Attributes:
    paths: files in sorted order of class, then name.
    labels: [N] int32.
    classes: names of the classes.
  """

  paths: tuple[Path, ...]
  labels: np.ndarray
  classes: tuple[str, ...]


def source(listing: Listing, shape: tuple[int, int, int]) -> Source:
  """Returns a listing as a split that can be read."""
  digest = hashlib.sha256(repr(shape).encode())
  for path, label in zip(listing.paths, listing.labels, strict=True):
    stat = path.stat()
    row = f"{path} {stat.st_size} {stat.st_mtime_ns} {label}\n"
    digest.update(row.encode())
  read = functools.partial(_read, listing, shape)
  return Source(digest.hexdigest(), read)


def _read(
  listing: Listing, shape: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
  image = np.empty((len(listing.paths), *shape), np.uint8)

  def fill(row):
    image[row] = pictures.read(listing.paths[row], shape)

  with ThreadPoolExecutor(4) as pool:
    list(pool.map(fill, range(len(image))))
  return image, listing.labels


def image_folder(path: Path, split: str) -> Listing:
  """Lists PATH/<split>/<class>/*, or a share of PATH/<class>/*.

  Args:
    path: the folder; without a folder "train" in it, its images are divided
      80/20 by a fixed seed.
    split: "train" or "test"; a folder "val" will do for "test".

  Raises:
    ValueError: no such folder, no images, or half a division.
  """
  if not path.is_dir():
    raise ValueError(f"image folder {path} does not exist; give another path.")
  if not (path / "train").is_dir():
    return _share(_classes(path, _subfolders(path)), split)
  classes = _subfolders(path / "train")
  if split == "train":
    return _classes(path / "train", classes)
  for name in ("test", "val"):
    if (path / name).is_dir():
      _refuse_unknown(path / name, classes)
      return _classes(path / name, classes)
  raise ValueError(
    f"image folder {path} has train but neither test nor val; add one, or put "
    "the classes directly into it to have them divided."
  )


def _refuse_unknown(folder: Path, classes: tuple[str, ...]) -> None:
  unknown = sorted(set(_subfolders(folder)) - set(classes))
  if unknown:
    raise ValueError(
      f"image folder {folder} has the class {unknown[0]!r}, which train lacks; "
      "remove it or add training images."
    )


def _share(listing: Listing, split: str) -> Listing:
  order = shuffled(len(listing.paths))
  cut = len(order) // _TEST_SHARE
  rows = np.sort(order[cut:] if split == "train" else order[:cut])
  paths = tuple(listing.paths[row] for row in rows)
  return Listing(paths, listing.labels[rows], listing.classes)


def _subfolders(folder: Path) -> tuple[str, ...]:
  return tuple(sorted(p.name for p in folder.iterdir() if p.is_dir()))


def _classes(folder: Path, classes: tuple[str, ...]) -> Listing:
  files = [
    (path, label)
    for label, name in enumerate(classes)
    for path in sorted((folder / name).glob("*"))
    if path.suffix.lower() in _SUFFIXES
  ]
  if not files:
    raise ValueError(
      f"image folder {folder} holds no images in folders of classes; known "
      f"endings are {', '.join(sorted(_SUFFIXES))}."
    )
  paths, labels = zip(*files, strict=True)
  return Listing(paths, np.array(labels, np.int32), classes)


def imagenet_classes(name: str, data_dir: Any = None) -> tuple[str, ...]:
  """Returns the ten classes that a fixed seed draws from ImageNet's folders.

  Raises:
    MissingDataset: no class folders.
    ValueError: fewer than twenty classes.
  """
  classes = _subfolders(_imagenet(name, data_dir) / "train")
  if len(classes) < 20:
    raise ValueError(
      f"{name!r} draws from ImageNet's 1,000 classes but found {len(classes)}; "
      "lay out at least the 20 that the two subsets need."
    )
  order = shuffled(len(classes), seed=_IMAGENET_SEED)
  return tuple(sorted(classes[i] for i in order[IMAGENET[name]]))


def imagenet(name: str, split: str, data_dir: Any = None) -> Listing:
  """Lists a split of a subset of ImageNet; validation serves as test."""
  classes = imagenet_classes(name, data_dir)
  part = _imagenet(name, data_dir) / ("train" if split == "train" else "val")
  if not part.is_dir():
    raise MissingDataset(name, [part], root(data_dir)[1])
  return _classes(part, classes)


def _imagenet(name: str, data_dir: Any) -> Path:
  base, origin = root(data_dir)
  tops = [base / "imagenet", base / "downloads" / "manual" / "imagenet"]
  for top in tops:
    if (top / "train").is_dir():
      return top
  raise MissingDataset(name, tops, origin)


def celeba(split: str, folder: Path, classes: tuple[str, ...]) -> Listing:
  """Lists CelebA laid out as <split>/<id>.jpg beside attributes.csv.

  Args:
    split: "train" or "test".
    folder: holds attributes.csv, with the columns image_id and the attributes
      as 0 or 1.
    classes: names of the eight classes.

  Raises:
    MissingDataset: the split has no images.
  """
  with (folder / "attributes.csv").open(newline="") as file:
    rows = {row["image_id"]: celeba_label(row) for row in csv.DictReader(file)}
  paths = tuple(sorted((folder / split).glob("*.jpg")))
  if not paths:
    raise MissingDataset("celeba8", [folder / split], "its attributes.csv")
  labels = np.array([rows[path.stem] for path in paths], np.int32)
  return Listing(paths, labels, classes)
