"""Which image files of a folder are of which class.

A folder per class holds nothing but images; what systems and editors leave
beside them, and tables and texts, is skipped and counted. GTSRB's test images
lie flat beside a table that tells their classes.
"""

import csv
import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from bdjax.data.pictures import printable
from bdjax.machine import storage

_LEFT = {  # names in lower case
  *("thumbs.db", "desktop.ini", "__macosx", "@eadir", "lost+found"),
  *("$recycle.bin", "system volume information"),
}
_OTHERS = {  # endings of tables, texts, copies and halves
  *(".csv", ".txt", ".json", ".md", ".xml", ".yaml", ".yml", ".log", ".html"),
  *(".bak", ".orig", ".tmp", ".part", ".crdownload"),
}
_TABLE = 2**24  # bytes of a table of classes


class Contents(NamedTuple):
  """What a folder holds.

  Attributes:
    groups: image files in order, by the name of their class; the class of "" is
      not known.
    skipped: how many files and folders are no images, by name or ending.
  """

  groups: dict[str, list[Path]]
  skipped: Counter[str]

  def remark(self, folder: Path) -> list[str]:
    """Returns a sentence about what is skipped, if anything is."""
    if not self.skipped:
      return []
    shown = self.skipped.most_common(5)
    kinds = [f"{count} {printable(kind)}" for kind, count in shown]
    rest = self.skipped.total() - sum(count for _, count in shown)
    kinds += [f"{rest} others"] if rest else []
    return [
      f"Skipped in {printable(folder)}, as no images of a class: "
      f"{', '.join(kinds)}."
    ]

  def filled(self, folder: Path) -> "Contents":
    """Returns itself.

    Raises:
      ValueError: a class has no images; says which.
    """
    for name, paths in self.groups.items():
      if not paths:
        raise ValueError(
          f"{printable(folder)} has the class {printable(name)!r}, which holds "
          "no images; remove its folder, or add some."
        )
    return self


def contents(
  folder: Path,
  names: Sequence[str] | None = None,
  *,
  limit: int | None = None,
) -> Contents:
  """Lists FOLDER/<class>/*, or FOLDER/* where it holds no folders.

  Args:
    folder: with folders, or with a table that has the columns Filename and
      ClassId, or with images alone.
    names: of the only folders that are wanted; None for all.
    limit: how many files may be listed; None for any number.

  Raises:
    ValueError: it cannot be read, holds too much, or something else than
      images in a class.
  """
  search = _Search(limit)
  entries = search.entries(folder)
  tops = _folders(entries)
  if tops:
    search.skipped["beside the folders"] += len(entries) - len(tops)
    groups = {name: search.images(folder / name) for name in names or tops}
  else:
    groups = _flat(folder, _files(folder, entries), search.skipped)
  return Contents(groups, +search.skipped)


def folders(folder: Path) -> list[str]:
  """Returns the names of the folders of classes in a folder, in order."""
  return _folders(_Search(None).entries(folder))


def indices(names: Iterable[str], known: Sequence[str]) -> dict[str, int]:
  """Returns which of the known classes folders are, by names or by numbers.

  Where the known names are numbers too, 14 is 00014. A folder that is none of
  them is left out.
  """
  names, by_name = list(names), {name: i for i, name in enumerate(known)}
  named = {name: by_name[name] for name in names if name in by_name}
  numbers = [number(name) for name in known]
  if None in numbers or len(set(numbers)) < len(numbers):
    numbers = list(range(len(known)))
  by_number = {n: i for i, n in enumerate(numbers)}
  counted = {n: by_number[number(n)] for n in names if number(n) in by_number}
  sound = len(named) < len(names) == len(set(counted.values()))
  return counted if sound else named


def number(name: str) -> int | None:
  """Returns the number that a folder's name is, or None."""
  plain = name.isascii() and name.isdecimal()
  return int(name) if plain and len(name) < 10 else None


class _Search:
  """Lists folders, within a limit for all of them together."""

  def __init__(self, limit: int | None) -> None:
    self.limit, self.count, self.skipped = limit, 0, Counter()

  def entries(self, folder: Path) -> list[os.DirEntry[str]]:
    """Returns what lies in a folder; counts what is skipped."""
    kept = []
    try:
      with os.scandir(folder) as entries:
        for entry in entries:
          self._check_room(folder)
          reason = _no_image(entry)
          if reason is None:
            kept.append(entry)
          else:
            self.skipped[reason] += 1
    except OSError as fault:
      raise ValueError(
        f"the folder {printable(folder)} cannot be read ({fault.strerror}); "
        "give another one."
      ) from None
    return kept

  def images(self, folder: Path) -> list[Path]:
    """Returns the image files in a folder, in order."""
    return _files(folder, self.entries(folder))

  def _check_room(self, folder: Path) -> None:
    if self.count == self.limit:
      raise ValueError(
        f"{printable(folder)} brings the images to more than {self.limit}, the "
        "most that are read; keep a part of them."
      )
    self.count += 1


def _folders(entries: list[os.DirEntry[str]]) -> list[str]:
  return sorted(entry.name for entry in entries if _sure(entry.is_dir))


def _files(folder: Path, entries: list[os.DirEntry[str]]) -> list[Path]:
  for entry in entries:
    if not _sure(entry.is_file):
      raise ValueError(
        f"{printable(folder / entry.name)} is not an image file; a folder of "
        "images may hold nothing else: move it away."
      )
  return sorted(folder / entry.name for entry in entries)


def _no_image(entry: os.DirEntry[str]) -> str | None:
  """Returns what a file or folder is called that holds no image, or None."""
  if entry.name.startswith(".") or entry.name.lower() in _LEFT:
    return "._*" if entry.name.startswith("._") else entry.name  # of a Mac
  ending = os.path.splitext(entry.name)[1].lower()
  return ending if ending in _OTHERS and _sure(entry.is_file) else None


def _sure(is_kind: Callable[[], bool]) -> bool:
  try:
    return is_kind()
  except OSError:  # a link that leads to itself is neither file nor folder
    return False


def _flat(
  folder: Path, paths: list[Path], skipped: Counter[str]
) -> dict[str, list[Path]]:
  """Returns images that lie in no folders, by the class that a table tells."""
  tables = sorted(folder.iterdir()) if ".csv" in skipped else []
  rows = [row for t in tables if t.suffix.lower() == ".csv" for row in _rows(t)]
  if not rows:
    return {"": paths} if paths else {}
  kinds = dict(rows)
  twice = [name for name, kind in rows if kinds[name] != kind]
  lost = [path.name for path in paths if path.name not in kinds]
  if twice or lost:
    times = "two classes" if twice else "no class"
    raise ValueError(
      f"the table in {printable(folder)} tells {times} for "
      f"{printable([*twice, *lost][0])}; mend it, or remove the image."
    )
  groups = {kinds[path.name]: [] for path in paths}
  for path in paths:
    groups[kinds[path.name]].append(path)
  return dict(sorted(groups.items()))


def _rows(path: Path) -> list[tuple[str, str]]:
  """Returns (file, class) of each row of a table, if it is like GTSRB's.

  Raises:
    ValueError: it cannot be read.
  """
  try:
    with storage.regular(path) as file:
      text = file.read(_TABLE).decode("utf-8-sig")
    rows = csv.reader(io.StringIO(text), delimiter=";" if ";" in text else ",")
    head = [name.strip() for name in next(rows, [])]
    name, kind = head.index("Filename"), head.index("ClassId")
    return [(row[name].strip(), row[kind].strip()) for row in rows if row]
  except OSError as fault:
    raise ValueError(
      f"the table {printable(path)}, which may tell the classes, cannot "
      f"be read ({fault.strerror}); make it readable, or remove it."
    ) from None
  except (ValueError, IndexError, csv.Error):
    return []  # some other table
