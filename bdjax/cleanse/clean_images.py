"""The user's clean images, and suspected ones, as arrays."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bdjax import data
from bdjax.cleanse import folders, orders, pictures, suspect
from bdjax.cleanse.pictures import printable
from bdjax.cleanse.suspect import Suspect
from bdjax.data import augment
from bdjax.data import pictures as resizing
from bdjax.types import View


class Images(NamedTuple):
  """Images, and what must be known of them.

  Attributes:
    image: [N, H, W, 3] uint8, clean.
    label: [N] int32.
    names: of the classes.
    triggered: [M, H, W, 3] uint8, suspected; None without any.
    triggered_label: [M] int32, folders.UNKNOWN where not told; or None.
    view: the augmentation to train with.
    info: of the dataset, if they are one.
    source: in words, which they are.
    order: in words, how classes were told.
    sized: in words, what size they have and why.
    notes: sentences about what was skipped, and what was done to some.
  """

  image: np.ndarray
  label: np.ndarray
  names: tuple[str, ...]
  triggered: np.ndarray | None
  triggered_label: np.ndarray | None
  view: View
  info: data.Info | None
  source: str
  order: str
  sized: str
  notes: tuple[str, ...] = ()


def read(
  model: Suspect,
  images: str | Path,
  *,
  triggered: str | Path | None,
  class_order: str | Path | None,
  data_dir: str | None,
) -> Images:
  """Reads clean and suspected images as the model takes them.

  Args:
    model: the suspect.
    images: a folder of folders, or the name of a dataset.
    triggered: a folder, or None.
    class_order: what `orders.named` takes, or None.
    data_dir: folder of the datasets.

  Raises:
    ValueError: they cannot be read, or are not of the model's classes.
  """
  order = None if class_order is None else str(class_order)
  if _is_folder(images):
    clean = _folder(model, Path(images), order)
  else:
    try:
      clean = _dataset(model, str(images), order, data_dir)
    except data.MissingDataset as error:
      raise ValueError(_typed(str(error))) from error
  if triggered is None:
    return clean
  files = folders.suspicious(Path(triggered), clean.names)
  image, remarks = pictures.read(files.paths, clean.image.shape[1:])
  return clean._replace(
    triggered=image,
    triggered_label=files.labels,
    notes=(*clean.notes, *files.notes, *remarks),
  )


def _is_folder(images: str | Path) -> bool:
  try:
    return Path(images).is_dir()
  except OSError:  # too long for the name of one
    return False


def _typed(text: str) -> str:
  """Returns what is said of a lost dataset with the flag of this command."""
  return text.replace("--config.data.dir=", "--data_dir=")


def _folder(model: Suspect, folder: Path, order: str | None) -> Images:
  names = None
  if order is not None:
    names = orders.named(order, folders.called(folder))
  files, called, numbering = folders.clean(
    folder, num_classes=model.num_classes, names=names
  )
  shape = suspect.shape(model, None)
  by = model.facts.get("img_size", ("", "the images, which are all alike"))[1]
  shape = shape or folders.common_shape(files.paths)
  image, remarks = pictures.read(files.paths, shape)
  padding = min(shape[:2]) // 8  # 4 pixels of 32, as the field's
  return Images(
    image=image,
    label=files.labels,
    names=called,
    triggered=None,
    triggered_label=None,
    view=augment.standard(padding=padding, mirror=False),
    info=None,
    source=f"{len(files.paths)} files of {printable(folder)}",
    order=numbering,
    sized=f"{shape[0]} x {shape[1]}, from {by}",
    notes=(*files.notes, *remarks),
  )


def _dataset(
  model: Suspect, name: str, order: str | None, data_dir: str | None
) -> Images:
  info = _info(name, data_dir)
  if info.num_classes != model.num_classes:
    raise ValueError(
      f"dataset {name!r} has {info.num_classes} classes, and the model "
      f"{model.num_classes}; give images of the model's classes."
    )
  names, numbering = info.class_names, "as the dataset numbers them"
  if order is not None:
    names = tuple(orders.named(order, names))
    numbering = "as --class_order says"
    _check_same(info, names)
  stored = data.load(name, "test", data_dir=data_dir)
  shape = suspect.shape(model, info)
  pictures.check_room(stored.size, shape)
  image = np.asarray(stored.image)
  if shape != info.shape:
    image = np.stack([resizing.fit(one, shape) for one in image])
  by = model.facts.get("img_size", ("", f"dataset {name}"))[1]
  notes = ()
  if shape != info.shape:
    before, after = (f"{w} x {h}" for h, w, _ in (info.shape, shape))
    notes = (
      f"The images of dataset {name} are resized as a whole, from {before} to "
      f"{after} (width x height).",
    )
  numbers = np.array([names.index(n) for n in info.class_names], np.int32)
  return Images(
    image=image,
    label=numbers[np.asarray(stored.label)],
    names=names,
    triggered=None,
    triggered_label=None,
    view=augment.standard(padding=info.crop, mirror=info.flip),
    info=info,
    source=f"{stored.size} test images of dataset {name}",
    order=numbering,
    sized=f"{shape[0]} x {shape[1]}, from {by}",
    notes=notes,
  )


def _check_same(info: data.Info, names: tuple[str, ...]) -> None:
  if sorted(names) != sorted(info.class_names):
    raise ValueError(
      f"--class_order does not list the classes of dataset {info.name}; list "
      f"{', '.join(info.class_names)}, in the model's order."
    )


def _info(name: str, data_dir: str | None) -> data.Info:
  known = [one for one in data.names() if ":" not in one]
  if os.path.isfile(name):
    raise ValueError(
      f"{printable(name)} is a file: give a folder with a folder of images per "
      f"class, or one of {', '.join(known)}."
    )
  if name.partition("@")[0] not in known:
    raise ValueError(
      f"there is no folder {printable(name)}, nor a dataset of that name; give "
      f"a folder with a folder of images per class, or one of "
      f"{', '.join(known)}."
    )
  return data.info(name, data_dir=data_dir)
