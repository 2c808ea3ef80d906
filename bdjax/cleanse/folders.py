"""A stranger's folders of images: which file is of which class, within limits.

The folder of a class is named by the class, or by its number. Nothing is
decoded here but the headers that tell an image's size; see `pictures` for that.
"""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bdjax.cleanse import pictures
from bdjax.cleanse.pictures import printable
from bdjax.data import classes
from bdjax.interop.refusals import listed
from bdjax.machine import storage

FILES = 200_000  # that are listed, at most
UNKNOWN = -1  # label of an image whose class nobody says
_TEXT = 2**20  # bytes of a file of names


class Files(NamedTuple):
  """Image files and their classes.

  Attributes:
    paths: in order of class, then name.
    labels: [N] int32; UNKNOWN where the folder does not tell.
    notes: sentences about what else the folder holds.
  """

  paths: tuple[Path, ...]
  labels: np.ndarray
  notes: tuple[str, ...] = ()


def clean(
  folder: Path, *, num_classes: int, names: Sequence[str] | None = None
) -> tuple[Files, tuple[str, ...], str]:
  """Lists FOLDER/<class>/*, with every class of the model in it.

  Args:
    folder: holds one folder per class, or images beside GTSRB's table.
    num_classes: of the model.
    names: of the classes in the model's order; None for the folders' names:
      numbers if all of them are, else in sorted order.

  Returns:
    The files, the classes' names, and in words how they were told apart.

  Raises:
    ValueError: no such folder, too many files, or other classes than the
      model's.
  """
  held = classes.contents(folder, limit=FILES).filled(folder)
  if not held.groups or "" in held.groups:
    raise ValueError(
      f"{printable(folder)} holds no folders; lay the images out as one folder "
      f"per class in it: {printable(folder)}/<class>/<image>."
    )
  groups = _named(held.groups, names or ())
  index, numbering = _order(folder, sorted(groups), num_classes, names)
  files = _joined({index[name]: paths for name, paths in groups.items()})
  files = files._replace(notes=tuple(held.remark(folder)))
  _check_enough(folder, files.labels, index, num_classes)
  known = {number: name for name, number in index.items()}
  return files, tuple(known[i] for i in range(num_classes)), numbering


def called(folder: Path) -> list[str]:
  """Returns the names of the folders in a folder, sorted."""
  return sorted(classes.contents(folder, limit=FILES).groups)


def suspicious(folder: Path, names: Sequence[str]) -> Files:
  """Lists FOLDER/*, or FOLDER/<class>/* of known classes.

  Args:
    folder: holds images, or folders named by the classes or by their numbers.
    names: of the classes.

  Raises:
    ValueError: no such folder, no files, or a folder that is no class.
  """
  held = classes.contents(folder, limit=FILES)
  index = classes.indices(held.groups, names) | {"": UNKNOWN}
  lost = held.groups.keys() - index.keys()
  if lost:
    raise ValueError(_stranger(folder, sorted(lost), names))
  groups = {index[name]: paths for name, paths in held.groups.items()}
  files = _joined(groups)
  notes = held.remark(folder) + _numbered(folder, held.groups, index, names)
  files = files._replace(notes=tuple(notes))
  if not files.paths:
    raise ValueError(f"{printable(folder)} holds no images; give another one.")
  return files


def _stranger(folder: Path, lost: Sequence[str], names: Sequence[str]) -> str:
  """Returns what is said of folders that are no classes."""
  wrong = [n for n in lost if not classes.indices([n], names)]
  if not wrong:
    return (
      f"{printable(folder)} has folders named by classes and others by their "
      f"numbers, such as {printable(lost[0])}; name all in one way."
    )
  return (
    f"{printable(folder)} has the folder {printable(wrong[0])}, which is none "
    "of the classes; put suspected images directly into it, or into folders "
    "named like those of the clean images, or by the classes' numbers."
  )


def _numbered(
  folder: Path,
  groups: Iterable[str],
  index: Mapping[str, int],
  names: Sequence[str],
) -> list[str]:
  """Returns a sentence on folders that have numbers where classes have names.

  Numbers that begin with 1 are not told from others where a class is missing.
  """
  shown = [
    f"{printable(name)} is {printable(names[index[name]])}"
    for name in sorted(groups, key=index.get)
    if name not in {"", *names} and classes.number(names[index[name]]) is None
  ]
  if not shown:
    return []
  some = ", ".join([*shown[:3], "and so on"] if len(shown) > 3 else shown)
  return [
    f"The folders of {printable(folder)} are taken for the classes of these "
    f"numbers, counted from 0: {some}."
  ]


def names_in(path: Path) -> tuple[str, ...]:
  """Reads the classes' names: a line each, or a JSON list of strings.

  Raises:
    ValueError: it cannot be read, is too large, or repeats a name.
  """
  try:
    with io.TextIOWrapper(storage.regular(path), "utf-8-sig") as file:
      text = file.read(_TEXT + 1)
  except (OSError, UnicodeDecodeError) as fault:
    raise ValueError(
      f"the classes' names cannot be read from {printable(path)} "
      f"({printable(fault)}); give a text file with a name in each line, or "
      "natural or lexicographic."
    ) from None
  return names_of(text, printable(path))


def names_of(text: str, source: str) -> tuple[str, ...]:
  """Returns the classes' names in a text, as `names_in` does.

  Args:
    text: a line each, or a JSON list of strings.
    source: what to call it.

  Raises:
    ValueError: it is too large, or repeats a name.
  """
  names = [line.strip() for line in text.splitlines() if line.strip()]
  if text.lstrip().startswith(("[", "{")):
    names = _json_list(source, text)
  if len(text) > _TEXT or len(set(names)) != len(names) or not names:
    raise ValueError(
      f"{source} does not name each class once; give a text file with "
      "a name in each line, in the order of the model's classes."
    )
  return tuple(names)


def _json_list(source: str, text: str) -> list[str]:
  try:
    names = json.loads(text)
  except (ValueError, RecursionError):
    names = None
  if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
    raise ValueError(
      f"{source} begins like JSON but is no list of strings; give the "
      "classes' names as one, or a name in each line."
    )
  return names


def common_shape(paths: Sequence[Path]) -> tuple[int, int, int]:
  """Returns the one shape that all images have.

  Raises:
    ValueError: they differ, so that nobody says what size the model takes.
  """
  first = pictures.size(paths[0])
  for path in paths:
    if pictures.size(path) != first:
      raise ValueError(
        f"the images differ in size ({printable(paths[0])} is {first[0]} x "
        f"{first[1]}, {printable(path)} is not), and neither the model's file "
        "nor a flag says what the model takes; give --image_size, such as 32."
      )
  return first


def _named(
  groups: dict[str, list[Path]], names: Sequence[str]
) -> dict[str, list[Path]]:
  """Returns groups by the names that are listed, if numbers stand for them."""
  index = classes.indices(groups, names)
  return {
    names[index[name]] if name in index else name: paths
    for name, paths in groups.items()
  }


def _order(
  folder: Path,
  subfolders: Sequence[str],
  num_classes: int,
  names: Sequence[str] | None,
) -> tuple[dict[str, int], str]:
  """Returns each folder's class, and in words how it was told."""
  if names is not None:
    _check_names(folder, subfolders, num_classes, names)
    index = {name: names.index(name) for name in subfolders}
    return index, "as --class_order says"
  if all(name.isascii() and name.isdecimal() for name in subfolders):
    index = {name: int(name[:9]) for name in subfolders}
    highest = max(index.values())
    if highest >= num_classes or len(set(index.values())) < len(index):
      raise ValueError(
        f"the folders of {printable(folder)} are numbered up to {highest}, but "
        f"the model's {num_classes} classes are 0 to {num_classes - 1}, once "
        "each; rename them, or list the names in order with --class_order FILE."
      )
    return index, "by the folders' numbers"
  if len(subfolders) != num_classes:
    raise ValueError(
      f"{printable(folder)} has {len(subfolders)} folders "
      f"({listed(subfolders)}), but the model {num_classes} classes; give one "
      "folder per class, or the names in the model's order with "
      "--class_order FILE."
    )
  index = {name: i for i, name in enumerate(subfolders)}
  return index, "by the folders' names, sorted"


def _check_names(folder, subfolders, num_classes, names) -> None:
  if len(names) != num_classes:
    raise ValueError(
      f"--class_order lists {len(names)} names, but the model has "
      f"{num_classes} classes; list every one, in the model's order."
    )
  lost = sorted(set(subfolders) - set(names))
  if lost:
    raise ValueError(
      f"{printable(folder)} has the folder {printable(lost[0])}, which "
      "--class_order does not list; rename or remove it."
    )


def _check_enough(folder, labels, index, num_classes) -> None:
  """Refuses classes that fine-tuning would forget, or nobody could check."""
  counts = np.bincount(labels, minlength=num_classes)
  few = np.flatnonzero(counts < 2)
  if few.size:
    names = {number: name for name, number in index.items()}
    name = names.get(int(few[0]))
    called = "" if name is None else f" ({printable(name)})"
    raise ValueError(
      f"class {few[0]}{called} has {counts[few[0]]} images in "
      f"{printable(folder)}: without some of every class the repair would make "
      "the model forget it; add two or more, one to train on and one to check."
    )


def _joined(groups: dict[int, list[Path]]) -> Files:
  rows = [(path, i) for i in sorted(groups) for path in groups[i]]
  labels = np.array([label for _, label in rows], np.int32)
  return Files(tuple(path for path, _ in rows), labels)
