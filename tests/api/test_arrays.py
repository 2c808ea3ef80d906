"""A user's arrays become data, or a sentence says why not."""

import re

import numpy as np
import pytest

from bdjax.api import arrays


def pair(count=6, size=16, classes=3, **changed):
  images = np.full((count, size, size, 3), 51, np.uint8)
  given = {"images": images, "labels": np.arange(count) % classes} | changed
  return given["images"], given["labels"]


def test_facts_are_the_training_images_own():
  images, labels = pair()
  images[:3, :, :, 0] = 153  # half of the first channel
  task = arrays.task((images, labels), pair(4))
  assert (task.info.num_classes, task.info.shape) == (3, (16, 16, 3))
  np.testing.assert_allclose(task.info.mean, [0.4, 0.2, 0.2])
  np.testing.assert_allclose(task.info.std, [0.2, 1.0, 1.0])  # 1: no spread
  assert (task.info.crop, task.info.flip) == (2, False)
  assert task.info.class_names == ("0", "1", "2")
  assert task.train.label.dtype == "int32" and task.test.size == 4


def test_numbers_from_0_to_1_become_bytes():
  images, labels = pair()
  task = arrays.task((images / 255.0, labels), pair())
  np.testing.assert_array_equal(task.train.image, images)


@pytest.mark.parametrize(
  ("train", "test", "said"),
  [
    (7, pair(), "train must be a pair"),
    (pair(images=np.zeros((6, 16, 16))), pair(), "shape (6, 16, 16), but must"),
    (pair(), pair(size=8), "of train are 16x16x3, but those of test 8x8x3"),
    (pair(images=np.zeros((6, 16, 16))), pair(), "give images[..., None]."),
    (
      pair(images=np.zeros((6, 3, 16, 16))),
      pair(),
      "1 or 3 channels: give images.transpose(0, 2, 3, 1).",
    ),
    (pair(labels=np.zeros(5, int)), pair(), "has 6 images, but 5 labels"),
    (pair(labels=np.zeros(6)), pair(), "float64 of the shape (6,), but must"),
    (pair(images=np.full((6, 16, 16, 3), -2.0)), pair(), "in [0, 1]."),
    (
      pair(images=np.linspace(-1, 1, 4608).reshape(6, 16, 16, 3)),
      pair(),
      "from -1 to 1, but must be uint8, or floats in [0, 1]: give (images + 1) "
      "/ 2.",
    ),
    (
      pair(images=np.zeros((6, 16, 16, 4))),
      pair(),
      "1 or 3 channels: give images[..., :3].",
    ),
    (
      pair(images=np.zeros((0, 16, 16, 3)), labels=np.zeros(0, int)),
      pair(),
      "train holds no images.",
    ),
    (pair(), ([], []), "test holds no images."),
    (pair(labels=np.zeros((6, 1), int)), pair(), "each image: give labels[:, "),
    (pair(labels=np.zeros(6)), pair(), "image: give labels.astype(int)."),
    (pair(labels=np.eye(6)), pair(), "each image: give labels.argmax(1)."),
    (
      pair(images=np.full((6, 16, 16, 3), np.nan)),
      pair(),
      "train hold numbers that are not finite, but must be uint8",
    ),
    (
      pair(images=np.arange(4608).reshape(6, 16, 16, 3) % 210),
      pair(),
      "int64 from 0 to 209, but must be uint8, or floats in [0, 1]: give "
      "images / 255.",
    ),
    (
      pair(images=np.arange(4608).reshape(6, 16, 16, 3) % 2),
      pair(),
      "int64 from 0 to 1, but must be uint8, or floats in [0, 1]: give "
      "images.astype(float) if 1 is white.",
    ),
    (pair(images=np.ones((6, 16, 16, 3), bool)), pair(), "are bool, but must"),
    (
      pair(images=np.full((6, 16, 16, 3), 2.0)),
      pair(),
      "float64 from 2 to 2, but must be uint8",
    ),
    (pair(labels=np.array([0, 2] * 3)), pair(), "0 to 2; 1 has no image"),
    (pair(labels=np.zeros(6, int)), pair(), "train are 0; they must be 0, 1"),
    (
      pair(labels=np.array([1, 2] * 3)),
      pair(),
      "1 to 2; 0 has no image, so give labels - 1; they must",
    ),
    (
      pair(),
      pair(labels=np.array([0, 1, 2, 3, 0, 0])),
      "a label of test is 3, but there are 3 classes",
    ),
    (pair(), pair(labels=np.array([0, -1] * 3)), "a label of test is -1, but"),
  ],
)
def test_what_is_wrong_is_said(train, test, said):
  with pytest.raises(ValueError, match=re.escape(said)):
    arrays.task(train, test)


@pytest.mark.parametrize("kind", ["U", "S", "O"])
def test_labels_in_words_are_made_numbers_by_what_is_said(kind):
  words = np.array(["cat", "ant", "bee"] * 2).astype(kind)
  remedy = "np.unique(labels, return_inverse=True)[1]"
  said = f"each image: give {remedy}, and the names as class_names."
  with pytest.raises(ValueError, match=re.escape(said)):
    arrays.task(pair(labels=words), pair())
  numbers = eval(remedy, {"np": np, "labels": words})
  task = arrays.task(pair(labels=numbers), pair(), class_names=np.unique(words))
  assert task.train.label.tolist() == [2, 0, 1] * 2


@pytest.mark.parametrize(
  ("data", "said"),
  [
    (pair(), "), but is of the type tuple: give {"),
    ({"train": pair(), "trian": pair()}, "'trian' is none of them: did you me"),
    ({"train": pair()}, "): test is missing."),
    ({}, "): train is missing."),
  ],
)
def test_data_is_a_dict(data, said):
  start = "data must be a dict with train and test (and perhaps class_names, "
  with pytest.raises(ValueError, match=re.escape(said)) as caught:
    arrays.given(data)
  assert str(caught.value).startswith(start)


def test_a_dict_of_arrays_becomes_data():
  given = {"train": pair(), "test": pair(), "class_names": "abc", "flip": True}
  assert arrays.given(given).info.flip


def test_names_say_how_many_classes_there_are():
  task = arrays.task(pair(), pair(), class_names=["a", "b", "c"])
  assert task.info.class_names == ("a", "b", "c")
  named = arrays.task(pair(), pair(), class_names=np.array(["a", "b", "c"]))
  assert named.info.class_names == ("a", "b", "c")
  with pytest.raises(ValueError, match="3 has no image"):
    arrays.task(pair(), pair(), class_names=["a", "b", "c", "d"])
