"""Preparing and reading tfds folders without TensorFlow.

Tiny archives in the official layouts stand for the downloads.
"""

import io
import json
import os
import struct
import sys
import tarfile
import zipfile
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
import scipy.io
import tensorflow_datasets as tfds
from PIL import Image

from bdjax import data
from bdjax.data import labels, official, stored

TRAIN, TEST = 6, 4


def pixels(count, size, seed=0):
  """Returns random images."""
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def encoded(image, kind):
  """Returns the bytes of an image file."""
  file = io.BytesIO()
  Image.fromarray(image).save(file, kind)
  return file.getvalue()


def tar(path, blobs):
  """Writes a compressed tar archive of named bytes."""
  with tarfile.open(path, "w:gz") as archive:
    for name, blob in blobs.items():
      member = tarfile.TarInfo(name)
      member.size = len(blob)
      archive.addfile(member, io.BytesIO(blob))


def planes(images, label_columns):
  """Returns CIFAR's rows: label bytes, then red, green and blue planes."""
  flat = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
  return np.concatenate([*label_columns, flat], 1).astype(np.uint8).tobytes()


def cifar10(folder):
  """Writes a tiny CIFAR-10 archive."""
  images = pixels(TRAIN - 1, 32), pixels(TEST, 32, 1)
  column = [np.arange(len(i))[:, None] for i in images]
  root = "cifar-10-batches-bin/"
  first, *_ = pixels(1, 32, 9)
  blobs = {
    f"{root}batches.meta.txt": "\n".join(labels.CIFAR10).encode() + b"\n\n",
    f"{root}data_batch_1.bin": planes(first[None], [np.array([[9]])]),
    f"{root}data_batch_2.bin": planes(images[0], [column[0]]),
    f"{root}test_batch.bin": planes(images[1], [column[1]]),
  } | {f"{root}data_batch_{i}.bin": b"" for i in (3, 4, 5)}
  tar(folder / "cifar-10-binary.tar.gz", blobs)
  train = np.concatenate([first[None], images[0]])
  return (train, [9, 0, 1, 2, 3, 4]), (images[1], [0, 1, 2, 3])


def cifar100(folder):
  """Writes a tiny CIFAR-100 archive; the coarse label comes first."""
  made = {"train": pixels(TRAIN, 32), "test": pixels(TEST, 32, 1)}
  root = "cifar-100-binary/"
  coarse = "\n".join(f"coarse{i}" for i in range(20)).encode()
  blobs = {
    f"{root}coarse_label_names.txt": coarse,
    f"{root}fine_label_names.txt": "\n".join(labels.CIFAR100).encode(),
  }
  for split, images in made.items():
    fine = 90 + np.arange(len(images))[:, None]
    columns = [np.full((len(images), 1), 5), fine]
    blobs[f"{root}{split}.bin"] = planes(images, columns)
  tar(folder / "cifar-100-binary.tar.gz", blobs)
  return (made["train"], range(90, 96)), (made["test"], range(90, 94))


def svhn_cropped(folder):
  """Writes tiny SVHN files; the digit 0 is stored as 10."""
  made = []
  for split, count in (("train", TRAIN), ("test", TEST)):
    images = pixels(count, 32, count)
    stored_labels = np.arange(count)[:, None] + 10 - count + 1
    content = {"X": np.moveaxis(images, 0, -1), "y": stored_labels}
    scipy.io.savemat(folder / f"{split}_32x32.mat", content)
    made.append((images, stored_labels.ravel() % 10))
  return made


def stl10(folder):
  """Writes a tiny STL-10 archive: planes column by column, labels from 1."""
  blobs, made = {}, []
  names = "\n".join(labels.STL10).encode() + b"\n"
  blobs["stl10_binary/class_names.txt"] = names
  for split, count in (("train", TRAIN), ("test", TEST)):
    images = pixels(count, 96, count)
    columns = images.transpose(0, 3, 2, 1)
    blobs[f"stl10_binary/{split}_X.bin"] = columns.tobytes()
    blobs[f"stl10_binary/{split}_y.bin"] = bytes(range(1, count + 1))
    made.append((images, range(count)))
  blobs["stl10_binary/unlabeled_X.bin"] = b"not read"
  tar(folder / "stl10_binary.tar.gz", blobs)
  return made


def imagenette(folder):
  """Writes a tiny Imagenette archive of one-color JPEGs of many sizes."""
  classes = tfds.builder("imagenette").info.features["label"].names
  blobs, made = {}, []
  for part, count in (("train", TRAIN), ("val", TEST)):
    values = np.arange(count, dtype=np.uint8) * 20
    for i, value in enumerate(values):
      image = np.full((70 + i, 90, 3), value)
      name = f"imagenette2-160/{part}/{classes[i]}/{part}_{i}.JPEG"
      blobs[name] = encoded(image, "JPEG")
    made.append(
      (np.tile(values[:, None, None, None], (1, 64, 64, 3)), range(count))
    )
  blobs["imagenette2-160/notes.csv"] = b"ignored"
  tar(folder / "imagenette2-160.tgz", blobs)
  return made


def gtsrb(folder):
  """Writes tiny GTSRB archives of one-color PPM files."""
  value = np.arange(TRAIN, dtype=np.uint8) * 9
  flat = np.tile(value[:, None, None, None], (1, 40, 50, 3))
  root = "GTSRB/Final_{}/Images/"
  rows = ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"]
  with zipfile.ZipFile(folder / "GTSRB_Final_Training_Images.zip", "w") as z:
    for i in range(TRAIN):
      name = root.format("Training") + f"{7 * i:05d}/00000_00000.ppm"
      z.writestr(name, encoded(flat[i], "PPM"))
      z.writestr(name.replace("00000_00000.ppm", "GT.csv"), "ignored")
  with zipfile.ZipFile(folder / "GTSRB_Final_Test_Images.zip", "w") as z:
    for i in range(TEST):
      z.writestr(root.format("Test") + f"{i:05d}.ppm", encoded(flat[i], "PPM"))
      rows.append(f"{i:05d}.ppm;50;40;5;5;45;35;{42 - i}")
  with zipfile.ZipFile(folder / "GTSRB_Final_Test_GT.zip", "w") as z:
    z.writestr("GT-final_test.csv", "\r\n".join(rows))
  small = flat[:, :32, :32]
  return (small, range(0, 42, 7)), (small[:TEST], [42, 41, 40, 39])


def tiny_imagenet(folder):
  """Writes a tiny Tiny ImageNet archive: one-color JPEGs, one of them gray."""
  classes, root = labels.TINY_IMAGENET, "tiny-imagenet-200"
  value = np.arange(TRAIN, dtype=np.uint8) * 20
  flat = np.tile(value[:, None, None, None], (1, 64, 64, 3))
  rows = []
  with zipfile.ZipFile(folder / "tiny-imagenet-200.zip", "w") as z:
    z.writestr(f"{root}/wnids.txt", "\n".join(reversed(classes)))
    z.writestr(f"{root}/test/images/test_0.JPEG", b"not read")
    for i in range(TRAIN):
      image = flat[i] if i else flat[i, :, :, 0]
      place = f"{root}/train/{classes[9 * i]}"
      name = f"{place}/images/{classes[9 * i]}_{i}.JPEG"
      z.writestr(f"{place}/{classes[9 * i]}_boxes.txt", "not read")
      z.writestr(name, encoded(image, "JPEG"))
    for i in range(TEST):
      name = f"{root}/val/images/val_{i}.JPEG"
      z.writestr(name, encoded(flat[i], "JPEG"))
      rows.append(f"val_{i}.JPEG\t{classes[199 - i]}\t0\t32\t44\t62\n")
    z.writestr(f"{root}/val/val_annotations.txt", "".join(rows))
  return (flat, range(0, 54, 9)), (flat[:TEST], [199, 198, 197, 196])


WRITERS = (
  *(cifar10, cifar100, svhn_cropped, stl10, imagenette, gtsrb),
  tiny_imagenet,
)


@pytest.fixture
def archives(tmp_path, monkeypatch):
  """Returns a folder whose files stand for what would be downloaded."""

  def download(self, url):
    path = tmp_path / url.rsplit("/", 1)[1]
    assert path.exists(), url
    return path

  monkeypatch.setattr(tfds.download.DownloadManager, "download", download)
  return tmp_path


def sorted_pairs(images, label):
  """Returns (label, image bytes) in an order of their own."""
  pairs = zip(np.asarray(label).tolist(), np.asarray(images), strict=True)
  return sorted((label, image.tobytes()) for label, image in pairs)


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_an_official_archive_becomes_a_dataset(write, archives):
  name, folder = write.__name__, archives / "prepared"
  expected = write(archives)
  made = data.prepare(name, data_dir=folder)
  assert made.is_relative_to(folder / name)
  for split, (images, label) in zip(data.SPLITS, expected, strict=True):
    got = data.load(name, split, data_dir=folder, cache_dir=archives / "c")
    assert got.image.shape[1:] == data.info(name).shape
    assert sorted_pairs(got.image, got.label) == sorted_pairs(images, label)
  assert "tensorflow" not in sys.modules
  assert data.prepare(name, data_dir=folder) == made  # nothing to do


def test_the_classes_of_tiny_imagenet_are_sorted_as_folders_are():
  classes = labels.TINY_IMAGENET
  assert list(classes) == sorted(set(classes)) and len(classes) == 200


@pytest.mark.parametrize("name", official.BUILDERS)
def test_names_and_versions_are_the_stock_builder_s(name):
  stock, ours = tfds.builder_cls(name), official.BUILDERS[name]
  assert (ours.name, ours.VERSION) == (stock.name, stock.VERSION)
  assert ours is not stock


def test_downloads_are_checked():
  url = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
  info = official.Cifar10.url_infos[url]
  assert info.checksum.startswith("c4a38c50a1bc5f3a")
  assert all(builder.url_infos for builder in official.BUILDERS.values())


def test_other_names_cannot_be_prepared(tmp_path):
  with pytest.raises(ValueError, match="cannot be downloaded"):
    data.prepare("celeba8", data_dir=tmp_path)


class Batched:
  """A mocked builder; tfds's mock breaks the batched read, so do it here."""

  def __init__(self, name):
    self.builder = tfds.builder(name)

  def as_data_source(self, split):
    """Remembers the split's mocked source."""
    self.source = self.builder.as_data_source(split=split)
    return self

  def __len__(self):
    return len(self.source)

  def __getitems__(self, keys):
    return [self.source[key] for key in keys]


@pytest.mark.parametrize(
  ("name", "size"), [("svhn_cropped", 32), ("stl10", 96)]
)
def test_stock_features_are_decoded(name, size):
  with tfds.testing.mock_data(num_examples=5):
    mocked = Batched(name)
    image, label = stored.decode(name, mocked, "train", (48, 48, 3))
    same, _ = stored.decode(name, mocked, "train", (size, size, 3))
    np.testing.assert_array_equal(same[3], mocked.source[3]["image"])
  assert image.shape == (5, 48, 48, 3) and image.dtype == np.uint8
  assert label.dtype == np.int32 and 0 <= label.min() <= label.max() < 10


def test_celeb_a_of_tfds_spells_the_label_in_bits():
  with tfds.testing.mock_data(num_examples=5):
    mocked = Batched("celeb_a")
    image, label = stored.decode("celeba8", mocked, "test", (64, 64, 3))
    raw = [mocked.source[row]["attributes"] for row in range(5)]
  bits = [[int(row[bit]) for bit in labels.CELEBA_BITS] for row in raw]
  assert image.shape == (5, 64, 64, 3)
  assert label.tolist() == [4 * a + 2 * b + c for a, b, c in bits]


def test_a_tfrecord_folder_reads_like_the_array_record_one(archives):
  svhn_cropped(archives)
  made = data.prepare("svhn_cropped", data_dir=archives / "prepared")
  arguments = {"data_dir": archives / "prepared", "cache_dir": archives / "c"}
  expected = data.load("svhn_cropped", **arguments)
  as_tfrecord(made, "svhn_cropped-train", TRAIN)
  again = data.load("svhn_cropped", **arguments)
  np.testing.assert_array_equal(again.image, expected.image)
  np.testing.assert_array_equal(again.label, expected.label)
  assert len(list((archives / "c").glob("*-train-*image.npy"))) == 2


def test_other_files_of_the_same_size_are_other_data(archives):
  svhn_cropped(archives)
  made = data.prepare("svhn_cropped", data_dir=archives / "prepared")

  def identity():
    where = archives / "prepared"
    return stored.source("svhn_cropped", "train", (32, 32, 3), where).identity

  before = identity()
  assert identity() == before
  (path,) = made.glob("svhn_cropped-train.*")
  os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))  # written anew
  assert identity() != before


def as_tfrecord(folder, stem, count):
  """Rewrites a split in TFRecord framing, in two shards."""
  builder = tfds.builder_from_directory(str(folder))
  split = stem.rsplit("-", 1)[1]
  source = builder.as_data_source(split=split)
  records = source.data_source.__getitems__(range(count))
  for shard, part in enumerate((records[:2], records[2:])):
    framed = b"".join(
      with_checksum(struct.pack("<Q", len(r))) + with_checksum(r) for r in part
    )
    name = f"{stem}.tfrecord-{shard:05d}-of-00002"
    (folder / name).write_bytes(framed)
  path = folder / "dataset_info.json"
  info = json.loads(path.read_text()) | {"fileFormat": "tfrecord"}
  (part,) = (part for part in info["splits"] if part["name"] == split)
  part["shardLengths"] = ["2", str(count - 2)]
  path.write_text(json.dumps(info))


def with_checksum(content):
  crc = google_crc32c.value(content)
  rotated = crc >> 15 | (crc & 0x7FFF) << 17
  return content + struct.pack("<I", (rotated + 0xA282EAD8) & 0xFFFFFFFF)


# The crc32c of the nine digits is e3069283 (RFC 3720's polynomial, as all lists
# of CRCs have it): rotated 2507c60d, with TFRecord's constant c78ab0e5.
DIGITS = with_checksum(struct.pack("<Q", 9)) + b"123456789\xe5\xb0\x8a\xc7"


def test_records_fit_their_checksums(tmp_path):
  path = tmp_path / "whole"
  path.write_bytes(DIGITS * 2)
  assert list(stored.frames(path)) == [b"123456789"] * 2


@pytest.mark.parametrize("size", range(1, len(DIGITS)))
def test_a_torn_record_is_refused(tmp_path, size):
  path = tmp_path / "torn"
  path.write_bytes(DIGITS + DIGITS[:size])
  with pytest.raises(ValueError, match="torn ends within a record"):
    list(stored.frames(path))


@pytest.mark.parametrize("place", range(len(DIGITS)))
def test_a_changed_byte_is_refused(tmp_path, place):
  changed = bytearray(DIGITS)
  changed[place] ^= 1 << place % 8
  path = tmp_path / "changed"
  path.write_bytes(changed)
  with pytest.raises(ValueError, match="changed does not fit its checksum"):
    list(stored.frames(path))


@pytest.mark.parametrize("kind", ["array_record", "tfrecord"])
def test_a_changed_pixel_is_answered_with_the_command(archives, kind):
  svhn_cropped(archives)
  made = data.prepare("svhn_cropped", data_dir=archives / "prepared")
  if kind == "tfrecord":
    as_tfrecord(made, "svhn_cropped-train", TRAIN)
  (path,) = made.glob(f"svhn_cropped-train.{kind}-00000-*")
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)
  arguments = {"data_dir": archives / "prepared", "cache_dir": archives / "c"}
  with pytest.raises(
    ValueError, match="(checksum|hash mismatch).*prepare it a"
  ):
    data.load("svhn_cropped", **arguments)


def cut(path):
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("kind", ["array_record", "tfrecord"])
@pytest.mark.parametrize(
  ("name", "damage"),
  [
    ("svhn_cropped-train*-00000-*", Path.unlink),
    ("svhn_cropped-train*-00000-*", cut),
    ("features.json", Path.unlink),
    ("dataset_info.json", cut),
  ],
)
def test_files_that_are_gone_or_cut_are_answered_with_the_command(
  archives, kind, name, damage
):
  svhn_cropped(archives)
  made = data.prepare("svhn_cropped", data_dir=archives / "prepared")
  if kind == "tfrecord":
    as_tfrecord(made, "svhn_cropped-train", TRAIN)
  (path,) = made.glob(name.replace("train*", f"train.{kind}"))
  damage(path)
  arguments = {"data_dir": archives / "prepared", "cache_dir": archives / "c"}
  with pytest.raises(ValueError, match="is not whole") as caught:
    data.load("svhn_cropped", **arguments)
  assert len(str(caught.value).splitlines()) == 1
  assert str(caught.value).endswith(
    "remove that folder and prepare it again: "
    "`python -m bdjax.launch prepare svhn_cropped`"
  )


def test_a_shard_without_its_last_records_is_not_fewer_images(archives):
  svhn_cropped(archives)
  made = data.prepare("svhn_cropped", data_dir=archives / "prepared")
  as_tfrecord(made, "svhn_cropped-train", TRAIN)
  path = made / "svhn_cropped-train.tfrecord-00001-of-00002"
  *_, last = stored.frames(path)
  path.write_bytes(path.read_bytes()[: -len(last) - 16])  # whole records stay
  with pytest.raises(ValueError, match="5 of 6 images are there"):
    data.load("svhn_cropped", data_dir=archives / "prepared", cache_dir=made)


def test_the_newest_version_wins(tmp_path):
  for version in ("1.9.0", "1.10.0"):
    folder = tmp_path / "cifar10" / version
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text("{}")
  assert stored.locate("cifar10", tmp_path).name == "1.10.0"
