"""A tfds builder of Tiny ImageNet, as Stanford's course CS231n laid it out.

Le and Yang 2015. tfds has none. The official archive, whose validation images
serve for testing: those of its test split have no labels. Classes are in the
order of their sorted numbers, as torchvision's `ImageFolder` has them, and
BackdoorBench with it; in its first commits it counted them as the archive's
wnids.txt does.

JPEG files are kept as they are, but for the gray ones, which become PNG files
in RGB.
"""

import io
import zipfile
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds
from PIL import Image

from bdjax.data import labels

_URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
_SHA256 = "6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821"
_SIZE = 248_100_043  # bytes
_ROOT = "tiny-imagenet-200"

Named = list[tuple[str, str]]  # files of the archive and their classes


class TinyImagenet(tfds.core.GeneratorBasedBuilder):
  """Tiny ImageNet: 200 classes, 100,000 training and 10,000 other images."""

  name = "tiny_imagenet"
  url_infos = {
    _URL: tfds.download.checksums.UrlInfo(
      size=tfds.core.units.Size(_SIZE),
      checksum=_SHA256,
      filename="tiny-imagenet-200.zip",
    )
  }
  VERSION = tfds.core.Version("1.0.0")

  def _info(self) -> tfds.core.DatasetInfo:
    features = {
      "image": tfds.features.Image(shape=(64, 64, 3)),
      "label": tfds.features.ClassLabel(names=labels.TINY_IMAGENET),
    }
    return tfds.core.DatasetInfo(
      builder=self,
      description="A fifth of ImageNet's classes, at 64x64.",
      features=tfds.features.FeaturesDict(features),
      supervised_keys=("image", "label"),
      homepage="http://cs231n.stanford.edu/",
    )

  def _split_generators(self, dl_manager) -> dict[str, Iterator]:
    path = dl_manager.download(_URL)
    return {
      "train": self._generate_examples(path, _train),
      "validation": self._generate_examples(path, _validation),
    }

  def _generate_examples(self, path: Any, listed) -> Iterator[tuple[str, dict]]:
    with zipfile.ZipFile(path) as archive:
      for name, label in listed(archive):
        key, image = name.split("/")[-1], _colored(archive.read(name))
        yield key, {"image": image, "label": label}


def _train(archive: zipfile.ZipFile) -> Named:
  # tiny-imagenet-200/train/<class>/images/<class>_<number>.JPEG
  names = [n for n in archive.namelist() if n.startswith(f"{_ROOT}/train/")]
  return [(n, n.split("/")[2]) for n in sorted(names) if n.endswith(".JPEG")]


def _validation(archive: zipfile.ZipFile) -> Named:
  # A line of the table: file, class, and the corners of a box.
  table = archive.read(f"{_ROOT}/val/val_annotations.txt").decode()
  rows = [line.split("\t") for line in table.splitlines()]
  return [(f"{_ROOT}/val/images/{row[0]}", row[1]) for row in rows]


def _colored(blob: bytes) -> Any:
  """Returns a file in RGB as it is, and another as an image in RGB."""
  file = io.BytesIO(blob)
  with Image.open(file) as image:
    if image.mode != "RGB":
      return image.convert("RGB")
  file.seek(0)
  return file
