"""Whether the labels of clean images can be right, by how sure a suspect is.

Classifiers are less sure of answers that are wrong: the largest probability of
a right answer is above that of a wrong one in nearly all pairs of the two
(Hendrycks and Gimpel 2017, arXiv:1610.02136, which call the share of pairs the
AUROC). Answers that are wrong only because a label is are as sure as right
ones, so that the share falls to a half.
"""

import numpy as np
from scipy import stats

# Share of pairs below which labels are in doubt. Chosen: two networks that are
# right on a third of CIFAR-10 have .65 without any wrong label.
_ALIKE = 0.62
_Z = 1.96  # standard errors to the end of a 95 % interval


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
