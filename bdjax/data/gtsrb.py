"""A tfds builder of the German Traffic Sign Recognition Benchmark.

Stallkamp et al. 2012. tfds has none. The official final training and test
archives; whole images resized to 32x32 (bilinear), without the crop to the
annotated region, as BackdoorBench does.
"""

import csv
import io
import zipfile
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds
from PIL import Image

from bdjax.data import labels

_URL = "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/"
_TRAIN = "GTSRB_Final_Training_Images.zip"
_TEST = "GTSRB_Final_Test_Images.zip"
_TRUTH = "GTSRB_Final_Test_GT.zip"


class Gtsrb(tfds.core.GeneratorBasedBuilder):
  """GTSRB: 43 classes, 39,209 training and 12,630 test images."""

  name = "gtsrb"
  url_infos = None  # tfds knows no checksums of these files
  VERSION = tfds.core.Version("1.0.0")

  def _info(self) -> tfds.core.DatasetInfo:
    features = {
      "image": tfds.features.Image(shape=(32, 32, 3)),
      "label": tfds.features.ClassLabel(names=labels.GTSRB),
    }
    return tfds.core.DatasetInfo(
      builder=self,
      description="German traffic signs, whole images resized to 32x32.",
      features=tfds.features.FeaturesDict(features),
      supervised_keys=("image", "label"),
      homepage="https://benchmark.ini.rub.de/",
    )

  def _split_generators(self, dl_manager) -> dict[str, Iterator]:
    paths = {name: dl_manager.download(_URL + name) for name in _FILES}
    return {
      "train": self._train(paths[_TRAIN]),
      "test": self._test(paths[_TEST], paths[_TRUTH]),
    }

  def _generate_examples(self, archive, named) -> Iterator[tuple[str, dict]]:
    for name, label in named:
      with Image.open(io.BytesIO(archive.read(name))) as image:
        small = image.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)
      key = "_".join(name.split("/")[-2:])
      yield key, {"image": small, "label": label}

  def _train(self, path: Any) -> Iterator[tuple[str, dict]]:
    with zipfile.ZipFile(path) as archive:
      names = [n for n in archive.namelist() if n.endswith(".ppm")]
      # GTSRB/Final_Training/Images/<class>/<track>_<frame>.ppm
      named = [(name, int(name.split("/")[-2])) for name in sorted(names)]
      yield from self._generate_examples(archive, named)

  def _test(self, path: Any, truth: Any) -> Iterator[tuple[str, dict]]:
    with zipfile.ZipFile(truth) as archive:
      table = archive.read("GT-final_test.csv").decode()
    rows = csv.DictReader(io.StringIO(table), delimiter=";")
    label = {row["Filename"]: int(row["ClassId"]) for row in rows}
    with zipfile.ZipFile(path) as archive:
      names = [n for n in archive.namelist() if n.endswith(".ppm")]
      named = [(name, label[name.split("/")[-1]]) for name in sorted(names)]
      yield from self._generate_examples(archive, named)


_FILES = (_TRAIN, _TEST, _TRUTH)
