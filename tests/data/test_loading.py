"""Loading by name: catalog, image folders, messages."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from bdjax import data
from bdjax.data import catalog
from bdjax.data.places import PREPARED


def paint(path, value, size=(8, 8)):
  """Writes a one-color PNG."""
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.new("RGB", size, (value, value, value)).save(path)


@pytest.fixture
def tree(tmp_path):
  """Returns an undivided folder: ten images in each of two classes."""
  for i in range(10):
    paint(tmp_path / "tree" / "ant" / f"{i}.png", i)
    paint(tmp_path / "tree" / "bee" / f"{i}.png", 100 + i)
  return tmp_path / "tree"


def values(dataset):
  """Returns the first channel of the first pixel of every image."""
  return np.asarray(dataset.image)[:, 0, 0, 0]


@pytest.mark.parametrize("name", catalog.KNOWN)
def test_the_catalog_is_consistent(name):
  info = catalog.KNOWN[name]
  assert len(info.shape) == len(info.mean) == len(info.std) == 3
  assert len(info.class_names) in (0, info.num_classes)
  assert info.crop == 4 and name in data.names()
  assert info.flip == (name in ("cifar10", "synthetic"))


def test_info_of_cifar10_is_backdoorbench_s():
  info = data.info("cifar10")
  assert info.mean == (0.4914, 0.4822, 0.4465)
  assert info.std == (0.247, 0.243, 0.261)
  assert data.info("imagenette@128").shape == (128, 128, 3)


def test_synthetic_loads_without_tfds_pillow_or_scipy():
  program = (
    "import sys\n"
    "for name in ('tensorflow_datasets', 'PIL', 'scipy.io'):\n"
    "  sys.modules[name] = None\n"
    "from bdjax import data\n"
    "print(data.load('synthetic', images=20).image.shape)\n"
  )
  done = subprocess.run(
    [sys.executable, "-c", program], capture_output=True, text=True
  )
  assert done.stdout.strip() == "(20, 32, 32, 3)", done.stderr


def test_fingerprints_tell_images_and_labels_apart():
  one = data.load("synthetic", images=20)
  same = data.load("synthetic", "train", images=20)
  assert data.fingerprint(one) == data.fingerprint(same)
  assert len(data.fingerprint(one)) == 16
  for other in (
    data.load("synthetic", "test", images=20),
    one.replace(label=one.label.at[3].set(0)),
    one.replace(image=one.image.at[0, 0, 0, 0].set(255)),
  ):
    assert data.fingerprint(other) != data.fingerprint(one)


def test_an_unknown_name_is_answered_with_near_ones():
  with pytest.raises(ValueError, match="did you mean cifar10"):
    data.load("cifar01")


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    ({"split": "validation"}, "train or test"),
    ({"images": 0}, "give 1 or more"),
    ({"name": "synthetic@64"}, "cannot be resized"),
    ({"name": "cifar10@0"}, "asks for size 0"),
  ],
)
def test_bad_arguments_are_refused(arguments, words):
  with pytest.raises(ValueError, match=words):
    data.load(**{"name": "synthetic"} | arguments)


def test_an_undivided_folder_is_divided_80_20(tree, tmp_path):
  name = f"image_folder:{tree}"
  info = data.info(name)
  assert (info.num_classes, info.shape) == (2, (8, 8, 3))
  assert info.class_names == ("ant", "bee")
  train = data.load(name, cache_dir=tmp_path / "cache")
  test = data.load(name, "test", cache_dir=tmp_path / "cache")
  assert (train.size, test.size) == (16, 4)
  both = np.concatenate([values(train), values(test)])
  assert sorted(both) == [*range(10), *range(100, 110)]
  np.testing.assert_array_equal(np.asarray(test.label), values(test) >= 100)


def test_a_divided_folder_is_read_and_resized(tmp_path):
  paint(tmp_path / "set" / "train" / "a" / "0.png", 1, (8, 4))
  paint(tmp_path / "set" / "train" / "b" / "0.png", 2, (30, 20))
  paint(tmp_path / "set" / "val" / "b" / "0.png", 3, (5, 5))
  name, cached = f"image_folder:{tmp_path / 'set'}", tmp_path / "cache"
  train = data.load(name, cache_dir=cached)
  test = data.load(name, "test", cache_dir=cached)
  assert train.image.shape == (2, 4, 8, 3)
  assert values(train).tolist() == [1, 2]
  assert (values(test).tolist(), test.label.tolist()) == ([3], [1])
  assert data.load(f"{name}@16", cache_dir=cached).image.shape[1] == 16


def test_half_a_division_and_strange_classes_are_refused(tmp_path):
  paint(tmp_path / "train" / "a" / "0.png", 1)
  name = f"image_folder:{tmp_path}"
  with pytest.raises(ValueError, match="neither test nor val"):
    data.load(name, "test", cache_dir=tmp_path / "cache")
  paint(tmp_path / "test" / "z" / "0.png", 1)
  with pytest.raises(ValueError, match="'z', which train lacks"):
    data.load(name, "test", cache_dir=tmp_path / "cache")
  with pytest.raises(ValueError, match="does not exist"):
    data.info(f"image_folder:{tmp_path / 'absent'}")


def test_a_broken_picture_is_named(tree, tmp_path):
  (tree / "ant" / "1.png").write_bytes(b"no picture")
  with pytest.raises(ValueError, match="1.png is damaged"):
    for split in ("train", "test"):
      data.load(f"image_folder:{tree}", split, cache_dir=tmp_path / "cache")


def test_fewer_images_are_the_first_of_a_fixed_shuffle(tree, tmp_path):
  name, cached = f"image_folder:{tree}", tmp_path / "cache"
  five = data.load(name, images=5, cache_dir=cached)
  nine = data.load(name, images=9, cache_dir=cached)
  every = data.load(name, cache_dir=cached)
  np.testing.assert_array_equal(values(five), values(nine)[:5])
  assert len(set(values(nine))) == 9
  assert values(nine).tolist() != values(every)[:9].tolist()
  with pytest.raises(ValueError, match="has 16 in train"):
    data.load(name, images=17, cache_dir=cached)


def test_a_draw_takes_other_images_and_the_same_again(tree, tmp_path):
  name, cached = f"image_folder:{tree}", tmp_path / "cache"
  where = {"images": 8, "cache_dir": cached}
  fixed, zero, *drawn = (
    values(data.load(name, **where, **draw)).tolist()
    for draw in ({}, {"draw": 0}, {"draw": 1}, {"draw": 1}, {"draw": 2})
  )
  assert fixed == zero and drawn[0] == drawn[1]
  assert len({frozenset(some) for some in (fixed, *drawn)}) == 3


def test_a_folder_whose_name_ends_like_a_size_is_itself(tmp_path):
  for i in range(4):
    paint(tmp_path / "faces" / "ant" / f"{i}.png", i)
    paint(tmp_path / "faces" / "bee" / f"{i}.png", i)
    for name in ("c0", "c1", "c2"):
      paint(tmp_path / "faces@64" / name / f"{i}.png", i, (16, 16))
  own = data.info(f"image_folder:{tmp_path / 'faces@64'}")
  assert (own.num_classes, own.shape) == (3, (16, 16, 3))
  sized = data.info(f"image_folder:{tmp_path / 'faces'}@32")
  assert (sized.num_classes, sized.shape) == (2, (32, 32, 3))
  both = data.info(f"image_folder:{tmp_path / 'faces@64'}@8")
  assert (both.num_classes, both.shape) == (3, (8, 8, 3))


def test_changed_files_are_read_again(tree, tmp_path):
  name, cached = f"image_folder:{tree}", tmp_path / "cache"
  before = data.load(name, cache_dir=cached)
  for path in (tree / "ant").iterdir():
    paint(path, 55, (9, 9))
  after = data.load(name, cache_dir=cached)
  assert 55 in values(after) and 55 not in values(before)


@pytest.mark.parametrize("name", PREPARED)
def test_missing_data_are_explained(name, tmp_path):
  with pytest.raises(data.MissingDataset) as caught:
    data.load(name, data_dir=tmp_path)
  message = str(caught.value)
  assert repr(name) in message and str(tmp_path) in message
  assert f"python -m bdjax.launch prepare {name}" in message
  assert "--config.data.dir=DIR" in message and "TFDS_DATA_DIR" in message


@pytest.mark.parametrize(
  ("name", "remedy"),
  [("celeba8", "attributes.csv"), ("imagenet10", "download ImageNet-1k")],
)
def test_data_got_by_hand_are_explained(name, remedy, tmp_path, monkeypatch):
  monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "here"))
  with pytest.raises(data.MissingDataset, match=remedy) as caught:
    data.load(name)
  assert "here" in str(caught.value) and "$TFDS_DATA_DIR" in str(caught.value)
  assert "launch prepare" not in str(caught.value)


def test_celeba_folders_spell_the_label_in_bits(tmp_path):
  rows = ["image_id,Young,Heavy_Makeup,Smiling,Mouth_Slightly_Open"]
  rows += ["07,1,1,0,0", "08,0,0,1,1", "09,1,1,1,1"]
  (tmp_path / "celeba").mkdir()
  (tmp_path / "celeba" / "attributes.csv").write_text("\n".join(rows) + "\n")
  for split, stem in (("train", "07"), ("train", "08"), ("test", "09")):
    paint(tmp_path / "celeba" / split / f"{stem}.jpg", 50, (17, 21))
  arguments = {"data_dir": tmp_path, "cache_dir": tmp_path / "cache"}
  train = data.load("celeba8", **arguments)
  assert train.image.shape == (2, 64, 64, 3)
  assert train.label.tolist() == [4, 3]
  assert data.load("celeba8", "test", **arguments).label.tolist() == [7]


def test_celeba_s_own_table_is_read_and_what_it_lacks_is_named(tmp_path):
  rows = ["image_id,Heavy_Makeup,Smiling,Mouth_Slightly_Open"]
  rows += ["07.jpg,1,-1,-1", "08.jpg,-1,1,1"]
  table = tmp_path / "celeba" / "attributes.csv"
  table.parent.mkdir()
  table.write_text("\n".join(rows) + "\n")
  for stem in ("07", "08"):
    paint(tmp_path / "celeba" / "train" / f"{stem}.jpg", 50, (17, 21))
  (tmp_path / "celeba" / "train" / "._07.jpg").write_bytes(b"of a Mac")
  arguments = {"data_dir": tmp_path, "cache_dir": tmp_path / "cache"}
  assert data.load("celeba8", **arguments).label.tolist() == [4, 3]
  paint(tmp_path / "celeba" / "train" / "09.jpg", 50, (17, 21))
  with pytest.raises(ValueError, match="attributes.csv lacks 09.jpg"):
    data.load("celeba8", **arguments)
  table.write_text("image_id,Smiling\n07,1\n")
  with pytest.raises(ValueError, match="lacks the columns Heavy_Makeup, Mouth"):
    data.load("celeba8", **arguments)


def test_the_imagenet_subsets_are_disjoint(tmp_path):
  for i in range(24):
    paint(tmp_path / "imagenet" / "train" / f"n{i:03d}" / "0.JPEG", i)
    paint(tmp_path / "imagenet" / "val" / f"n{i:03d}" / "0.JPEG", i)
  one = data.info("imagenet10", data_dir=tmp_path).class_names
  two = data.info("imagenet10_ft", data_dir=tmp_path).class_names
  assert len(set(one)) == len(set(two)) == 10 and not set(one) & set(two)
  arguments = {"data_dir": tmp_path, "cache_dir": tmp_path / "cache"}
  test = data.load("imagenet10", "test", **arguments)
  assert test.image.shape == (10, 64, 64, 3)
  named = [f"n{value:03d}" for value in values(test)]
  assert named == [one[label] for label in test.label.tolist()]


def test_celeba_without_images_is_missing(tmp_path):
  (tmp_path / "celeba").mkdir()
  (tmp_path / "celeba" / "attributes.csv").write_text("image_id,Young\n")
  with pytest.raises(data.MissingDataset, match="celeba.test"):
    data.load("celeba8", "test", data_dir=tmp_path)


SIZES = {
  "cifar10": (50_000, 10_000),
  "cifar100": (50_000, 10_000),
  "gtsrb": (39_209, 12_630),
  "imagenette": (9_469, 3_925),
  "tiny_imagenet": (100_000, 10_000),
}


@pytest.mark.realdata
@pytest.mark.parametrize("name", SIZES)
def test_real_data_have_their_sizes(name, tmp_path):
  try:
    found = [data.load(name, s, cache_dir=tmp_path) for s in data.SPLITS]
  except data.MissingDataset as missing:
    pytest.skip(str(missing))
  assert tuple(part.size for part in found) == SIZES[name]
  for part in found:
    counts = np.bincount(np.asarray(part.label))
    assert len(counts) == data.info(name).num_classes and counts.min() > 0


def test_buckets_are_refused(tree, monkeypatch):
  with pytest.raises(ValueError, match="datasets is gs://b/x, but must be a l"):
    data.load("cifar10", data_dir="gs://b/x")
  with pytest.raises(ValueError, match="images is gs://b/x, but must be a loc"):
    data.load(f"image_folder:{tree}", cache_dir="gs://b/x")
  with pytest.raises(ValueError, match="image_folder is gs://b/x, but must be"):
    data.info("image_folder:gs://b/x")
  with pytest.raises(ValueError, match="datasets is gs://b/x, but must be a l"):
    data.prepare("cifar10", data_dir="gs://b/x")
  monkeypatch.setenv("TFDS_DATA_DIR", "gs://b/x")
  with pytest.raises(ValueError, match=r"\$TFDS_DATA_DIR is gs://b/x, but mus"):
    data.load("cifar10")
