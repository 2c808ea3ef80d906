"""Whether the labels of clean images can be right, by how sure a suspect is.

Classifiers are less sure of answers that are wrong: the largest probability of
a right answer is above that of a wrong one in nearly all pairs of the two
(Hendrycks and Gimpel 2017, arXiv:1610.02136, which call the share of pairs the
AUROC). Answers that are wrong only because a label is are as sure as right
ones, so that the share falls to a half.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from bdjax.cleanse.measure import Share
from bdjax.cleanse.pictures import printable

# Share of pairs below which labels are in doubt. Chosen: two networks that are
# right on a third of CIFAR-10 have .65 without any wrong label.
_ALIKE = 0.62
_Z = 1.96  # standard errors to the end of a 95 % interval
# An answer is sure if of the answers in other folders that are no less
# confident so many are right; a folder is mixed if so many of its images are
# surely of one other class, less the 95 % interval. Chosen: of 3,200 draws of
# 10 to 150 images a class for four networks that are right on 37 to 44 % of
# CIFAR-10, one had such a folder; for one that is right on 99.8 % of its
# images, half a class moved into another's folder was seen in 582 of 600.
_SURE = 0.95
_MIXED = 0.15
_LISTED = 5  # folders, at most, that a sentence names


class Mixed(NamedTuple):
  """A folder of which a large part is surely answered with one other class.

  Attributes:
    folder: its class.
    other: the class that the answers are.
    share: of its images that are surely answered so.
  """

  folder: int
  other: int
  share: Share


def sureness(right: np.ndarray, confidence: np.ndarray) -> tuple[float, float]:
  """Returns in which share of pairs the right answer is the surer one.

  Args:
    right: [N] bool, which answers agree with their labels.
    confidence: [N] largest probability of each.

  Returns:
    The share, where equal ones count half, and its standard error (Hanley and
    McNeil 1982, doi:10.1148/radiology.143.1.7063747, equation 1); NaNs where
    all answers are right, or none is.
  """
  hits, misses = int(right.sum()), int((~right).sum())
  if not hits or not misses:
    return float("nan"), float("nan")
  ranks = stats.rankdata(confidence)
  share = (ranks[right].sum() - hits * (hits + 1) / 2) / (hits * misses)
  both_hits = share / (2 - share)  # two right ones are surer than a wrong one
  both_misses = 2 * share**2 / (1 + share)  # one is surer than two wrong ones
  variance = (
    share * (1 - share)
    + (hits - 1) * (both_hits - share**2)
    + (misses - 1) * (both_misses - share**2)
  ) / (hits * misses)
  return float(share), float(np.sqrt(max(variance, 0)))


def mixed(
  label: np.ndarray, answers: np.ndarray, confidence: np.ndarray
) -> list[Mixed]:
  """Returns the folders that seem to hold another class's images too.

  The suspect's other folders say how confident an answer must be to be sure,
  so that a network that is wrong often is sure of little.

  Args:
    label: [N] classes of the folders.
    answers: [N] of the suspect.
    confidence: [N] largest probability of each.
  """
  right, falling = answers == label, np.argsort(-confidence, kind="stable")
  result = []
  for c in np.unique(label[~right]):
    inside = label == c
    wrong = inside & ~right
    if not _large(int(wrong.sum()), int(inside.sum())):
      continue
    rest = falling[label[falling] != c]
    rate = np.cumsum(right[rest]) / np.arange(1, len(rest) + 1)
    sure = np.flatnonzero(rate >= _SURE)
    if not sure.size:
      continue
    least = confidence[rest[sure[-1]]]
    counts = np.bincount(answers[wrong & (confidence >= least)], minlength=1)
    d, size = int(counts.argmax()), int(inside.sum())
    if _large(int(counts[d]), size):
      result.append(Mixed(int(c), d, Share(int(counts[d]), size)))
  return result


def _large(hits: int, count: int) -> bool:
  return Share(hits, count).interval[0] >= _MIXED


def mixture(folders: Sequence[Mixed], names: Sequence[str]) -> str:
  """Returns what is said of mixed folders, in a sentence, or "".

  Args:
    folders: as `mixed` returns them.
    names: of the classes.
  """
  if not folders:
    return ""

  def called(c: int) -> str:
    name = printable(names[c])
    return str(c) if name == str(c) else f"{c} ({name})"

  parts = [
    f"{share.hits} of the {share.count} images of class {called(c)} as class "
    f"{called(d)}"
    for c, d, share in folders[:_LISTED]
  ]
  rest = len(folders) - len(parts)
  parts += [f"{rest} other folders likewise"] if rest else []
  return (
    f"The suspect surely answers {'; '.join(parts)}: move images of "
    "that class to their own folder; if none lie there, check --mean, --std "
    "and --image_size."
  )


def doubt(right: np.ndarray, confidence: np.ndarray) -> str:
  """Returns what speaks against the labels, in a sentence, or "".

  Args:
    right: as `sureness` takes them.
    confidence: likewise.
  """
  share, error = sureness(right, confidence)
  if not share + _Z * error < _ALIKE:
    return ""
  return (
    f"The suspect is nearly as sure of its {int((~right).sum())} wrong answers "
    f"as of the right ones (of pairs of the two, the right one is surer in "
    f"{100 * share:.0f} %): look whether images lie in folders of other "
    "classes."
  )
