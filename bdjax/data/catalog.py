"""Lists the datasets, and what a model must know of each.

A name may end in @SIZE: `imagenette@128` is resized to 128x128.

Normalization is BackdoorBench's, where it has the dataset. Else: ImageNet's
published values for its subsets, the training set's own channel statistics, as
commonly quoted, for STL-10 and SVHN. Augmentation is BackdoorBench's too: a
crop after padding by 4 pixels everywhere, mirroring only on CIFAR-10 (and on
our synthetic set, whose classes it keeps).
"""

from pathlib import Path
from typing import NamedTuple

from bdjax.data import folders, labels, pictures, synthetic
from bdjax.machine import storage
from bdjax.methods import signature, values

FOLDER = "image_folder:"


class Info(NamedTuple):
  """What a model and its training must know of a dataset.

  Attributes:
    name: as given to `info`.
    num_classes: number of classes.
    shape: (height, width, channels).
    class_names: one per class, in the order of the labels.
    mean: per channel, of images in [0, 1].
    std: per channel, of images in [0, 1].
    flip: whether training mirrors images.
    crop: padding in pixels of the random crop in training.
  """

  name: str
  num_classes: int
  shape: tuple[int, int, int]
  class_names: tuple[str, ...]
  mean: tuple[float, ...] = (0.0, 0.0, 0.0)
  std: tuple[float, ...] = (1.0, 1.0, 1.0)
  flip: bool = False
  crop: int = 4


_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_SMALL, _LARGE = (32, 32, 3), (64, 64, 3)

_INFOS = (
  Info(
    "synthetic",
    10,
    _SMALL,
    synthetic.CLASS_NAMES,
    (0.39, 0.39, 0.39),
    (0.223, 0.223, 0.223),
    flip=True,
  ),
  Info(
    "cifar10",
    10,
    _SMALL,
    labels.CIFAR10,
    (0.4914, 0.4822, 0.4465),
    (0.247, 0.243, 0.261),
    flip=True,
  ),
  Info(
    "cifar100",
    100,
    _SMALL,
    labels.CIFAR100,
    (0.5071, 0.4865, 0.4409),
    (0.2673, 0.2564, 0.2762),
  ),
  Info("gtsrb", 43, _SMALL, labels.GTSRB),
  Info(
    "svhn_cropped",
    10,
    _SMALL,
    tuple("0123456789"),
    (0.4377, 0.4438, 0.4728),
    (0.198, 0.201, 0.197),
  ),
  Info(
    "stl10",
    10,
    (96, 96, 3),
    labels.STL10,
    (0.4467, 0.4398, 0.4066),
    (0.2603, 0.2566, 0.2713),
  ),
  Info("imagenette", 10, _LARGE, labels.IMAGENETTE, **_IMAGENET),
  Info(
    "tiny_imagenet",
    200,
    _LARGE,
    labels.TINY_IMAGENET,
    (0.4802, 0.4481, 0.3975),
    (0.2302, 0.2265, 0.2262),
  ),
  Info("celeba8", 8, _LARGE, labels.CELEBA8),
  Info("imagenet10", 10, _LARGE, (), **_IMAGENET),
  Info("imagenet10_ft", 10, _LARGE, (), **_IMAGENET),
)
KNOWN = {info.name: info for info in _INFOS}

_LINES = {
  "synthetic": "shapes x textures, generated in memory; needs no download",
  "cifar10": "CIFAR-10, 50,000 + 10,000 photographs",
  "cifar100": "CIFAR-100, 50,000 + 10,000 photographs",
  "gtsrb": "German traffic signs, 39,209 + 12,630, whole images resized",
  "svhn_cropped": "street view house numbers, 73,257 + 26,032 digits",
  "stl10": "STL-10, 5,000 + 8,000 photographs",
  "imagenette": "ten easy ImageNet classes, 9,469 + 3,925 photographs, resized",
  "tiny_imagenet": "200 ImageNet classes, 100,000 + 10,000 small photographs",
  "celeba8": "CelebA faces in 8 classes: makeup x open mouth x smile",
  "imagenet10": "ten seeded classes of a manually downloaded ImageNet-1k",
  "imagenet10_ft": "ten further ImageNet classes, disjoint from imagenet10",
}


def names() -> dict[str, str]:
  """Returns each dataset's name with a one-line description."""
  lines = {
    name: f"{line}; {info.num_classes} classes, {info.shape[0]}x{info.shape[1]}"
    for name, line in _LINES.items()
    for info in [KNOWN[name]]
  }
  return lines | {
    f"{FOLDER}PATH": "PATH/<split>/<class>/*.png, or without split"
  }


def parse(name: str) -> tuple[str, int | None]:
  """Splits NAME@SIZE into the dataset's name and the size, or None.

  Where an image folder's own name ends in @SIZE, that is no size.

  Raises:
    ValueError: the name is unknown, or the size is not positive.
  """
  base, separator, size = name.rpartition("@")
  path = Path(name.removeprefix(FOLDER)) if name.startswith(FOLDER) else None
  if not (separator and size.isdecimal()) or path and path.is_dir():
    base, size = name, None
  elif len(size) > 4 or int(size) < 1:
    raise ValueError(
      f"dataset {values.shown(name)} asks for size {size[:9]}; give 1 to 9999, "
      "the images' side in pixels."
    )
  if base not in KNOWN and not base.startswith(FOLDER):
    near = signature.nearest(base, names())
    raise ValueError(f"unknown dataset {name!r}: {near}")
  return base, None if size is None else int(size)


def info(name: str, *, data_dir: str | Path | None = None) -> Info:
  """Returns what a model must know of a dataset.

  Args:
    name: a key of `names()`, perhaps with @SIZE; "image_folder:PATH" is read.
    data_dir: where ImageNet's class folders are looked up.

  Raises:
    ValueError: the name is unknown, or the folder cannot be used.
    MissingDataset: the classes of an ImageNet subset lie in absent data.
  """
  base, size = parse(name)
  details = _folder_info(base) if base.startswith(FOLDER) else KNOWN[base]
  if base in folders.IMAGENET:
    classes = folders.imagenet_classes(base, data_dir)
    details = details._replace(class_names=classes)
  if size is not None:
    details = details._replace(shape=(size, size, 3))
  return details._replace(name=name)


def folder(name: str) -> Path:
  """Returns the folder that "image_folder:PATH" names."""
  path = storage.local(name.removeprefix(FOLDER), "image_folder")
  return path.expanduser()


def _folder_info(name: str) -> Info:
  listing = folders.image_folder(folder(name), "train")
  shape = pictures.size(listing.paths[0])
  return Info(name, len(listing.classes), shape, listing.classes)
