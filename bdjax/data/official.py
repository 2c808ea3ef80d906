"""The stock tfds builders, made to prepare without TensorFlow.

tfds needs TensorFlow to unpack archives and to encode arrays. Each class here
keeps a stock builder's name, version, features, checksums, ids and order, and
unpacks with the standard library: the folder opens like any other of tfds.
Left out, since nothing here uses them: SVHN's extra and STL-10's unlabelled
split.
"""

import io
import tarfile
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.image_classification import cifar

Examples = Iterator[tuple[Any, dict[str, Any]]]


def _members(path: Any, names: tuple[str, ...]) -> dict[str, bytes]:
  """Returns the wanted files of a tar archive by their base names."""
  with tarfile.open(path) as archive:
    return {
      name: archive.extractfile(member).read()
      for member in archive
      if (name := PurePath(member.name).name) in names and member.isfile()
    }


def _lines(blob: bytes) -> list[str]:
  return [line for line in blob.decode().split("\n") if line]


def _checksums(stock: type) -> dict[str, Any]:
  """Reads what tfds knows of a stock builder's downloads.

  tfds's own property needs importlib_resources, which it does not install.
  """
  legacy = tfds.core.tfds_path(f"url_checksums/{stock.name}.txt")
  packaged = stock.pkg_dir_path
  path = packaged / "checksums.tsv" if packaged else legacy
  return tfds.core.download.checksums.load_url_infos(path)


# else they would clash with the registered classes of the same names
with tfds.core.registered.skip_registration():
  _Svhn = tfds.builder_cls("svhn_cropped")
  _Stl10 = tfds.builder_cls("stl10")
  _Imagenette = tfds.builder_cls("imagenette")

  class Cifar10(cifar.Cifar10):
    """CIFAR-10 from its binary archive."""

    name = "cifar10"
    url_infos = _checksums(cifar.Cifar10)

    def _split_generators(self, dl_manager) -> dict[str, Examples]:
      info = self._cifar_info
      files = (*info.train_files, *info.test_files, *info.label_files)
      blobs = _members(dl_manager.download(info.url), files)
      for key, file in zip(info.label_keys, info.label_files, strict=True):
        self.info.features[key].names = _lines(blobs[file])
      return {
        "train": self._rows("train", [blobs[f] for f in info.train_files]),
        "test": self._rows("test", [blobs[f] for f in info.test_files]),
      }

    def _rows(self, split: str, blobs: list[bytes]) -> Examples:
      keys = self._cifar_info.label_keys
      data = np.frombuffer(b"".join(blobs), np.uint8)
      # per row: the labels, then red, green and blue planes
      data = data.reshape(-1, len(keys) + 3072)
      images = data[:, len(keys) :].reshape(-1, 3, 32, 32)
      for n, image in enumerate(images.transpose(0, 2, 3, 1)):
        example = {key: int(data[n, i]) for i, key in enumerate(keys)}
        example |= {"id": f"{split}_{n:05d}", "image": Image.fromarray(image)}
        yield n, example

  class Cifar100(Cifar10, cifar.Cifar100):
    """CIFAR-100 from its binary archive."""

    name = "cifar100"
    url_infos = _checksums(cifar.Cifar100)
    VERSION = cifar.Cifar100.VERSION
    _cifar_info = cifar.Cifar100._cifar_info
    _info = cifar.Cifar100._info

  class SvhnCropped(_Svhn):
    """SVHN's cropped digits from MATLAB files; no extra split."""

    name = "svhn_cropped"
    pkg_dir_path = _Svhn.pkg_dir_path
    url_infos = _checksums(_Svhn)

    def _split_generators(self, dl_manager) -> dict[str, Examples]:
      url = "http://ufldl.stanford.edu/housenumbers/{}_32x32.mat"
      return {
        split: self._rows(split, dl_manager.download(url.format(split)))
        for split in ("train", "test")
      }

    def _rows(self, split: str, path: Any) -> Examples:
      import scipy.io

      data = scipy.io.loadmat(path)
      labels = data["y"].ravel() % 10  # the digit 0 is stored as 10
      for n, image in enumerate(np.moveaxis(data["X"], -1, 0)):
        picture = Image.fromarray(np.ascontiguousarray(image))
        example = {"image": picture, "label": int(labels[n])}
        yield n, {**example, "id": f"{split}_{n:06d}"}

  class Stl10(_Stl10):
    """STL-10 from its binary archive; no unlabelled split."""

    name = "stl10"
    pkg_dir_path = _Stl10.pkg_dir_path
    url_infos = _checksums(_Stl10)

    def _split_generators(self, dl_manager) -> dict[str, Examples]:
      url = "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz"
      parts = [f"{s}_{p}.bin" for s in ("train", "test") for p in "Xy"]
      files = (*parts, "class_names.txt")
      blobs = _members(dl_manager.download(url), files)
      names = _lines(blobs["class_names.txt"])
      self.info.features["label"].names = names
      return {
        split: self._rows(blobs[f"{split}_X.bin"], blobs[f"{split}_y.bin"])
        for split in ("train", "test")
      }

    def _rows(self, images: bytes, labels: bytes) -> Examples:
      # planes are stored column by column
      planes = np.frombuffer(images, np.uint8).reshape(-1, 3, 96, 96)
      for n, image in enumerate(planes.transpose(0, 3, 2, 1)):
        picture = Image.fromarray(np.ascontiguousarray(image))
        yield n, {"image": picture, "label": labels[n] - 1}

  class Imagenette(_Imagenette):
    """Imagenette from its archive, JPEG bytes kept."""

    name = "imagenette"
    pkg_dir_path = _Imagenette.pkg_dir_path
    url_infos = _checksums(_Imagenette)

    def _split_generators(self, dl_manager) -> dict[str, Examples]:
      url = "https://s3.amazonaws.com/fast-ai-imageclas/{}.tgz"
      path = dl_manager.download(url.format(self.builder_config.dirname))
      return {
        "train": self._files(path, "train"),
        "validation": self._files(path, "val"),
      }

    def _files(self, path: Any, part: str) -> Examples:
      with tarfile.open(path) as archive:
        for member in archive:
          place = PurePath(member.name)
          if place.suffix != ".JPEG" or place.parts[-3] != part:
            continue
          image = io.BytesIO(archive.extractfile(member).read())
          yield place.name, {"image": image, "label": place.parts[-2]}


BUILDERS = {
  cls.name: cls for cls in (Cifar10, Cifar100, SvhnCropped, Stl10, Imagenette)
}
