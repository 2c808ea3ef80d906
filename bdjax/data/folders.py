"""Datasets that are folders of image files.

One folder per class (`image_folder:PATH`, ImageNet), or CelebA's one folder per
split with a table of attributes. The shares of an undivided folder and the
ImageNet classes are drawn by a fixed seed from the sorted names.
"""

import csv
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from bdjax.data import classes, pictures
from bdjax.data.classes import Contents
from bdjax.data.labels import CELEBA_BITS
from bdjax.data.places import MissingDataset, Source, root
from bdjax.data.splits import shuffled
from bdjax.data.stored import celeba_label
from bdjax.machine import notes

IMAGENET = {"imagenet10": slice(0, 10), "imagenet10_ft": slice(10, 20)}
_IMAGENET_SEED = 10
_TESTS = ("test", "val")  # folders of images to test on
_TEST_SHARE = 5  # every fifth image of an undivided folder is for testing


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
  image, remarks = pictures.read(listing.paths, shape)
  for remark in remarks:
    notes.say(remark)
  return image, listing.labels


def image_folder(path: Path, split: str) -> Listing:
  """Lists PATH/<split>/<class>/*, or a share of PATH/<class>/*.

  Args:
    path: the folder; without a folder "train" in it that is a split, its
      images are divided 80/20 by a fixed seed.
    split: "train" or "test"; a folder "val" will do for "test".

  Raises:
    ValueError: no such folder, no images, or half a division.
  """
  if not path.is_dir():
    raise ValueError(
      f"image folder {path} does not exist, or is no folder; give another path."
    )
  if not _divided(path):
    contents = _contents(path)
    return _share(path, _listing(path, contents, tuple(contents.groups)), split)
  train = _contents(path / "train")
  names = tuple(train.groups)
  if split == "train":
    return _listing(path / "train", train, names)
  for name in _TESTS:
    if (path / name).is_dir():
      return _listing(path / name, _contents(path / name), names)
  raise ValueError(
    f"image folder {path} has train but neither test nor val; add one, or put "
    "the classes directly into it to have them divided."
  )


def _divided(path: Path) -> bool:
  """Returns whether a folder "train" is there and no class.

  It is one if it holds images alone and other classes lie beside it.
  """
  train = path / "train"
  if not train.is_dir():
    return False
  others = set(classes.folders(path)) - {"train", *_TESTS}
  if not others or classes.folders(train):
    return True
  return "" not in classes.contents(train).groups


def _share(path: Path, listing: Listing, split: str) -> Listing:
  order = shuffled(len(listing.paths))
  cut = len(order) // _TEST_SHARE
  if not cut:
    raise ValueError(
      f"image folder {path} has {len(order)} images, too few to divide them "
      f"into training and testing; give {_TEST_SHARE} or more."
    )
  rows = np.sort(order[cut:] if split == "train" else order[:cut])
  labels = listing.labels[rows]
  lost = set(range(len(listing.classes))) - set(labels.tolist())
  if lost:
    names = ", ".join(listing.classes[i] for i in sorted(lost))
    notes.say(
      f"Dividing {path} leaves no {split} images of {names}: give more, or "
      "divide them yourself into train and test."
    )
  paths = tuple(listing.paths[row] for row in rows)
  return Listing(paths, labels, listing.classes)


def _contents(folder: Path, names: tuple[str, ...] | None = None) -> Contents:
  """Returns the images of each class in a folder; says what is skipped."""
  contents = classes.contents(folder, names).filled(folder)
  if not contents.groups or "" in contents.groups:
    raise ValueError(
      f"image folder {folder} holds no images in folders of classes; lay them "
      "out as one folder per class in it."
    )
  for remark in contents.remark(folder):
    notes.say(remark)
  return contents


def _listing(
  folder: Path, contents: Contents, names: tuple[str, ...]
) -> Listing:
  """Returns images in the order of the classes' names, which may be numbers."""
  index = classes.indices(contents.groups, names)
  unknown = sorted(contents.groups.keys() - index.keys())
  if unknown:
    raise ValueError(
      f"image folder {folder} has the class {unknown[0]!r}, which train lacks; "
      "remove it or add training images."
    )
  files = [
    (path, index[name])
    for name in sorted(index, key=index.get)
    for path in contents.groups[name]
  ]
  paths, labels = zip(*files, strict=True)
  return Listing(paths, np.array(labels, np.int32), names)


def imagenet_classes(name: str, data_dir: Any = None) -> tuple[str, ...]:
  """Returns the ten classes that a fixed seed draws from ImageNet's folders.

  Raises:
    MissingDataset: no class folders.
    ValueError: fewer than twenty classes.
  """
  names = classes.folders(_imagenet(name, data_dir) / "train")
  if len(names) < 20:
    raise ValueError(
      f"{name!r} draws from ImageNet's 1,000 classes but found {len(names)}; "
      "lay out at least the 20 that the two subsets need."
    )
  order = shuffled(len(names), seed=_IMAGENET_SEED)
  return tuple(sorted(names[i] for i in order[IMAGENET[name]]))


def imagenet(name: str, split: str, data_dir: Any = None) -> Listing:
  """Lists a split of a subset of ImageNet; validation serves as test."""
  names = imagenet_classes(name, data_dir)
  part = _imagenet(name, data_dir) / ("train" if split == "train" else "val")
  if not part.is_dir():
    raise MissingDataset(name, [part], root(data_dir)[1])
  return _listing(part, _contents(part, names), names)


def _imagenet(name: str, data_dir: Any) -> Path:
  base, origin = root(data_dir)
  tops = [base / "imagenet", base / "downloads" / "manual" / "imagenet"]
  for top in tops:
    if (top / "train").is_dir():
      return top
  raise MissingDataset(name, tops, origin)


def celeba(split: str, folder: Path, names: tuple[str, ...]) -> Listing:
  """Lists CelebA laid out as <split>/<id>.jpg beside attributes.csv.

  Args:
    split: "train" or "test".
    folder: holds attributes.csv, with the columns image_id and the attributes
      as 0 or 1, or as CelebA's own -1 or 1.
    names: of the eight classes.

  Raises:
    MissingDataset: the split has no images.
    ValueError: the table lacks an image or a column.
  """
  paths = sorted((folder / split).glob("[!.]*.jpg"))
  if not paths:
    raise MissingDataset("celeba8", [folder / split], "its attributes.csv")
  table = folder / "attributes.csv"
  with table.open(newline="", encoding="utf-8-sig") as file:
    rows = {Path(r["image_id"]).stem: celeba_label(r) for r in _rows(file)}
  lost = [path.name for path in paths if path.stem not in rows]
  if lost:
    raise ValueError(
      f"{table} lacks {lost[0]}, which lies in {folder / split}; add its row, "
      "or remove the image."
    )
  labels = np.array([rows[path.stem] for path in paths], np.int32)
  return Listing(tuple(paths), labels, names)


def _rows(file: TextIO) -> Iterator[dict[str, str]]:
  """Returns the rows of CelebA's table, which must have what is needed."""
  rows = csv.DictReader(file)
  lost = {"image_id", *CELEBA_BITS} - set(rows.fieldnames or ())
  if lost:
    raise ValueError(
      f"{file.name} lacks the columns {', '.join(sorted(lost))}; lay it out as "
      "image_id and CelebA's attributes, with commas between them."
    )
  return rows
