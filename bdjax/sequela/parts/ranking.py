"""Thresholds on scores, and how well scores separate two groups of examples.

Groups are masks of one array, so that all shapes are static and the same
program serves every group. Counts are exact integers: ties and identical groups
give what they should to the last digit.
"""

import jax
import jax.numpy as jnp

from bdjax.types import Array, Labels, Scores

MOST = 92_681  # examples; of more, a product of two groups may pass 2^31


def threshold(score: Scores, member: Array, other: Array) -> Array:
  """Returns the threshold with the best balanced accuracy, a scalar.

  A score of at least the threshold claims membership. Candidates are the scores
  themselves and infinity; of equally good ones the highest is taken, hence the
  fewest claims. So it is infinity, which claims no example, if nothing beats
  chance or a group is empty; it is NaN if any score is.

  Args:
    score: [N], high for members.
    member: [N] bool.
    other: [N] bool, non-members; examples in neither group do not count.

  Raises:
    ValueError: there are too many examples to count exactly.
  """
  _check_size(score)
  order = jnp.argsort(-score)
  ranked = score[order]
  hits, alarms = (jnp.cumsum(group[order]) for group in (member, other))
  # (TPR - FPR) x members x non-members
  gain = hits * alarms[-1] - alarms * hits[-1]
  last = jnp.append(ranked[1:] != ranked[:-1], True)  # of equal scores
  gain = jnp.where(last, gain, -1)
  best = gain.argmax()
  limit = jnp.where(gain[best] > 0, ranked[best], jnp.inf)
  return jnp.where(jnp.isnan(score).any(), jnp.nan, limit)


def threshold_by_class(
  score: Scores,
  label: Labels,
  member: Array,
  other: Array,
  *,
  num_classes: int,
) -> Array:
  """Returns a `threshold` for each class, [num_classes].

  Args:
    score: [N], high for members.
    label: [N].
    member: [N] bool.
    other: [N] bool, non-members.
  """

  def one(c):
    return threshold(score, member & (label == c), other & (label == c))

  return jax.vmap(one)(jnp.arange(num_classes))


def balanced_accuracy(claim: Array, member: Array, other: Array) -> Array:
  """Returns the mean of the shares of members claimed and others not.

  Args:
    claim: [N] bool, which examples are called members.
    member: [N] bool.
    other: [N] bool; NaN if either group is empty.
  """
  return 0.5 + (_share(claim, member) - _share(claim, other)) / 2


def separation(
  score: Scores,
  member: Array,
  other: Array,
  *,
  per_mille: tuple[int, ...] = (1, 10),
) -> tuple[Array, Array]:
  """Returns the AUROC, and true positives at few false ones, [per_mille].

  The AUROC is the chance that a member scores higher than another, ties
  counting half. True positives are the share of members above a threshold, the
  lowest that at most so many thousandths of the others exceed, as in
  `metrics.detection`; of fewer than 1000 / per_mille others none may.

  Args:
    score: [N].
    member: [N] bool.
    other: [N] bool, non-members; all is NaN if either group is empty.
    per_mille: false alarms allowed, each below 1000.

  Raises:
    ValueError: there are too many examples to count exactly.
  """
  _check_size(score)
  order = jnp.argsort(score)
  ranked = score[order]
  below = jnp.append(0, jnp.cumsum(other[order]))
  low = below[jnp.searchsorted(ranked, score, side="left")]
  high = below[jnp.searchsorted(ranked, score, side="right")]
  others = below[-1]
  # Others below a score less those above it, summed over members.
  lead = jnp.where(member, low + high - others, 0).sum()
  auroc = 0.5 + lead / (2.0 * member.sum() * others)
  # A score passes the threshold if no more than those allowed are as high.
  allowed = others * jnp.array(per_mille) // 1000
  passed = (others - low)[None] <= allowed[:, None]
  share = (passed & member[None]).sum(1) / member.sum()
  return auroc, jnp.where(others > 0, share, jnp.nan)


def _share(claim: Array, group: Array) -> Array:
  return (claim & group).sum() / group.sum()


def _check_size(score: Scores) -> None:
  if score.size > MOST:
    raise ValueError(
      f"{score.size} examples are too many to compare all pairs exactly: give "
      f"at most {MOST}, drawn at random."
    )
