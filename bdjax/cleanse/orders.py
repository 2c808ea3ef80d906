"""The order in which a suspect has its classes: asked for, and seen.

Folders say which images are alike and not which of the model's answers they
are. `--class_order` says that; what the suspect answers shows whether it is so.
"""

import json
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import optimize

from bdjax.cleanse import folders, measure
from bdjax.cleanse.measure import Share

_TWICE = 2  # as many answers must another order explain
_OR_MISREAD = (
  ", but first check --mean, --std, --image_size and the images, since a model "
  "that is asked otherwise than it was trained can mix up classes likewise"
)
_LISTED = 100  # classes, at most, whose names a sentence holds


def _natural(names: Sequence[str]) -> list[str]:
  """Returns names sorted, numbers in them by their value."""

  def parts(name: str) -> list[str | int]:
    pieces = re.split("([0-9]+)", name)
    return [int(p) if i % 2 else p for i, p in enumerate(pieces)]

  return sorted(names, key=lambda name: (parts(name), name))


SORTS: dict[str, Callable[[Sequence[str]], list[str]]] = {
  "lexicographic": sorted,
  "natural": _natural,
}


class Order(NamedTuple):
  """An order of classes that explains a suspect's answers.

  Attributes:
    value: what `--class_order` calls it; "" if it is the order taken.
    place: [classes] in it, by place in the order taken.
  """

  value: str
  place: np.ndarray

  def right(self, label: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Returns which answers are right in this order, [N] bool."""
    return self.place[label] == answers


def named(order: str, names: Sequence[str]) -> Sequence[str]:
  """Returns the names of the classes in the order that the user asks for.

  Args:
    order: natural, lexicographic, the path of a file that lists names, or names
      with commas between them, or as a JSON list.
    names: of the folders, in any order.

  Raises:
    ValueError: the file cannot be read, or a name is listed twice.
  """
  if order in SORTS:
    return SORTS[order](names)
  if order.startswith("["):
    return folders.names_of(order, "--class_order")
  if "," in order and not _is_file(order):
    return folders.names_of(order.replace(",", "\n"), "--class_order")
  return folders.names_in(Path(order))


def _is_file(text: str) -> bool:
  try:
    return Path(text).is_file()
  except OSError:  # too long for the name of one
    return False


def seen(label: np.ndarray, answers: np.ndarray, names: Sequence[str]) -> Order:
  """Returns the order in which the answers make most sense.

  Another order than the one taken must explain twice as many of the answers to
  the classes it moves, and more than chance could. One that follows from the
  names goes before one that follows from the answers, which is found on one
  half of the images and must prove itself on the other.

  Args:
    label: [N] classes of the images, in the order taken.
    answers: [N] of the suspect.
    names: of the classes, in the order taken.
  """
  best = Order("", np.arange(len(names)))
  counts = measure.confusion(label, answers, len(names))
  for value, sort in SORTS.items():
    place = {name: i for i, name in enumerate(sort(names))}
    other = np.array([place[name] for name in names])
    if _explains(counts, best.place, other):
      best = Order(value, other)
  halves = (
    measure.confusion(label[rows], answers[rows], len(names))
    for rows in measure.divided(label, rate=0.5, seed=0)
  )
  finding, judging = halves
  if not _explains(judging, best.place, _assigned(finding)):
    return best
  place = _assigned(counts)
  return Order(_listed(names, place), place)


def refusal(order: Order, right: Share, taken: Share, words: str) -> str:
  """Returns what is said of an order that is not the one taken.

  Args:
    order: that explains the answers.
    right: images answered right in it.
    taken: the same in the order taken.
    words: how that order was told.
  """
  hint = {
    "lexicographic": " (as torchvision's ImageFolder does)",
    "natural": "",
  }.get(order.value, _OR_MISREAD)
  return (
    f"the classes are taken {words}, in which the suspect is right on {taken} "
    f"clean images; but it is on {right} in another order, so that a repair "
    f"would teach it other classes than its own: give --class_order "
    f"{order.value}{hint}."
  )


def _explains(counts: np.ndarray, taken: np.ndarray, other: np.ndarray) -> bool:
  """Returns whether another order explains answers far better than one taken.

  Args:
    counts: [classes, classes] by class of the image and answer.
    taken: [classes] answers that are right in the order taken.
    other: the same in the other.
  """
  moved = np.flatnonzero(taken != other)
  size = int(counts[moved].sum())
  before = Share(int(counts[moved, taken[moved]].sum()), size)
  after = Share(int(counts[moved, other[moved]].sum()), size)
  apart = after.interval[0] > before.interval[1]
  return bool(size and apart and after.hits > _TWICE * before.hits)


def _assigned(counts: np.ndarray) -> np.ndarray:
  """Returns the answers that, one a class, agree with most images.

  Of those that agree with as many, one that moves few classes.
  """
  weighted = counts * (len(counts) + 1) + np.eye(len(counts), dtype=int)
  return optimize.linear_sum_assignment(weighted, maximize=True)[1]


def _listed(names: Sequence[str], place: np.ndarray) -> str:
  """Returns names in their order as a shell takes them, or in words."""
  ordered = [names[i] for i in np.argsort(place)]
  if len(names) > _LISTED:
    pairs = [(names[i], int(j)) for i, j in enumerate(place) if i != j]
    some = ", ".join(f"{json.dumps(name)} as {j}" for name, j in pairs[:8])
    return f"a file with the names in the model's order, which has {some}, ..."
  plain = ",".join(ordered)
  odd = plain.count(",") >= len(names) or not plain.isascii()
  return shlex.quote(json.dumps(ordered) if odd else plain)
