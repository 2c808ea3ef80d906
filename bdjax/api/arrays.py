"""A user's own arrays as a task's data."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from bdjax.data import Info
from bdjax.methods.signature import nearest
from bdjax.runs.task_data import OWN, TaskData
from bdjax.types import Dataset

NEEDED = ("train", "test")
MORE = ("class_names", "flip", "crop")
LEAST = 1e-6  # a deviation below it is rounding, of one color
Pair = tuple[Any, Any]  # images and labels


def given(data: Any, *, named: bool = False) -> TaskData:
  """Returns what a user gave as data, as `task` takes it.

  Args:
    data: a dict of the arguments of `task`.
    named: whether it might also have been a dataset's name; only for words.

  Raises:
    ValueError: it is no such dict, or its arrays are none; says what is wrong.
  """
  name = "a dataset's name or " if named else ""
  wanted = (
    f"data must be {name}a dict with {' and '.join(NEEDED)} "
    f"(and perhaps {', '.join(MORE)})"
  )
  if not isinstance(data, Mapping):
    raise ValueError(
      f"{wanted}, but is of the type {type(data).__name__}: give "
      '{"train": (images, labels), "test": (images, labels)}.'
    )
  for key in data:
    if key not in (*NEEDED, *MORE):
      near = nearest(str(key), (*NEEDED, *MORE))
      raise ValueError(f"{wanted}: {key!r} is none of them: {near}")
  for key in NEEDED:
    if key not in data:
      raise ValueError(f"{wanted}: {key} is missing.")
  return task(**data)


def task(
  train: Pair,
  test: Pair,
  *,
  class_names: Sequence[str] | None = None,
  flip: bool = False,
  crop: int | None = None,
) -> TaskData:
  """Returns arrays as data, with the training images' mean and deviation.

  Args:
    train: images [N, H, W, C], uint8, or floats in [0, 1], which are rounded
      to 8 bits; labels [N], whole numbers from 0, every class at least once.
    test: likewise.
    class_names: by label; None for the numbers.
    flip: whether training mirrors images.
    crop: padding in pixels of the random crop; None is an eighth of the side.

  Raises:
    ValueError: they are no such arrays; says which and why.
  """
  images, labels = _checked("train", train)
  others, answers = _checked("test", test)
  if images.shape[1:] != others.shape[1:]:
    raise ValueError(
      f"the images of train are {_size(images)}, but those of test "
      f"{_size(others)}: give one size."
    )
  classes = _classes(labels, answers, class_names)
  names = range(classes) if class_names is None else class_names
  height, width, channels = images.shape[1:]
  pixels = images.astype(np.float64) / 255
  deviation = pixels.std((0, 1, 2))
  info = Info(
    OWN,
    classes,
    (height, width, channels),
    tuple(map(str, names)),
    tuple(pixels.mean((0, 1, 2)).tolist()),
    tuple(np.where(deviation > LEAST, deviation, 1.0).tolist()),
    flip=flip,
    crop=min(height, width) // 8 if crop is None else crop,
  )
  return TaskData(info, _dataset(images, labels), _dataset(others, answers))


def _dataset(images: np.ndarray, labels: np.ndarray) -> Dataset:
  return Dataset(jnp.asarray(images), jnp.asarray(labels, jnp.int32))


def _checked(name: str, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
  if not isinstance(pair, tuple | list) or len(pair) != 2:
    raise ValueError(f"{name} must be a pair of images and labels.")
  images, labels = map(np.asarray, pair)
  if not images.size:
    raise ValueError(f"{name} holds no images.")
  if images.ndim != 4 or images.shape[-1] not in (1, 3):
    raise ValueError(
      f"the images of {name} have the shape {images.shape}, but must have "
      f"[N, height, width, channels] with 1 or 3 channels{_turned(images)}."
    )
  if labels.ndim != 1 or labels.dtype.kind not in "iu":
    raise ValueError(
      f"the labels of {name} are {labels.dtype} of the shape {labels.shape}, "
      f"but must be a whole number for each image{_counted(labels)}."
    )
  if len(labels) != len(images):
    raise ValueError(
      f"{name} has {len(images)} images, but {len(labels)} labels: give one "
      "for each."
    )
  return _bytes(name, images), labels


def _bytes(name: str, images: np.ndarray) -> np.ndarray:
  if images.dtype == np.uint8:
    return images
  if images.dtype.kind not in "fiu":
    raise ValueError(
      f"the images of {name} are {images.dtype}, but must be uint8, or floats "
      "in [0, 1]."
    )
  if images.dtype.kind == "f" and not np.isfinite(images).all():
    raise ValueError(
      f"the images of {name} hold numbers that are not finite, but must be "
      "uint8, or floats in [0, 1]."
    )
  if images.dtype.kind != "f" or not ((images >= 0) & (images <= 1)).all():
    low, high = images.min(), images.max()
    remedy = "" if low < 0 or high > 255 else ": give images / 255"
    if images.dtype.kind == "f" and -1 <= low < 0 and high <= 1:
      remedy = ": give (images + 1) / 2"
    if low >= 0 and high <= 1:  # whole; of 0 to 255 they are nearly black
      remedy = ": give images.astype(float) if 1 is white"
    raise ValueError(
      f"the images of {name} are {images.dtype} from {low:g} to {high:g}, but "
      f"must be uint8, or floats in [0, 1]{remedy}."
    )
  return np.rint(images * 255).astype(np.uint8)


def _turned(images: np.ndarray) -> str:
  """Returns how images become such, where their shape tells."""
  if images.ndim == 3:
    return ": give images[..., None]"
  if images.ndim == 4 and images.shape[1] in (1, 3):
    return ": give images.transpose(0, 2, 3, 1)"
  if images.ndim == 4 and images.shape[-1] == 4:  # the last is opacity
    return ": give images[..., :3]"
  return ""


def _counted(labels: np.ndarray) -> str:
  """Returns how labels become whole numbers, one each, where that is known."""
  if labels.ndim == 2:
    one = labels.shape[1] == 1
    return ": give labels[:, 0]" if one else ": give labels.argmax(1)"
  if labels.ndim == 1 and labels.dtype.kind in "fb":
    return ": give labels.astype(int)"
  if labels.ndim == 1 and labels.dtype.kind in "USO":
    return (
      ": give np.unique(labels, return_inverse=True)[1], and the names as "
      "class_names"
    )
  return ""


def _classes(
  labels: np.ndarray, answers: np.ndarray, names: Sequence[str] | None
) -> int:
  """Returns how many classes there are, each of which has training images."""
  classes = int(labels.max()) + 1 if names is None else len(names)
  present = np.unique(labels).tolist()
  missing = sorted(set(range(classes)) - set(present))
  if missing or len(present) < 2 or present[0] < 0:
    lack = f"; {missing[0]} has no image" if missing else ""
    if names is None and missing == [*range(present[0])] != []:
      lack += f", so give labels - {present[0]}"
    ends = dict.fromkeys((present[0], present[-1]))
    raise ValueError(
      f"the labels of train are {' to '.join(map(str, ends))}{lack}; they must "
      "be 0, 1, ..., each at least once, and two classes at least."
    )
  for name, given in (("train", labels), ("test", answers)):
    for label in (int(given.min()), int(given.max())):
      if not 0 <= label < classes:
        raise ValueError(
          f"a label of {name} is {label}, but there are {classes} classes, "
          "which count from 0."
        )
  return classes


def _size(images: np.ndarray) -> str:
  return "x".join(map(str, images.shape[1:]))
