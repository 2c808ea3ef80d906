"""Metrics of the field, as pure functions of counts and rates.

All rates are fractions in [0, 1]. Definitions follow BackdoorBench's text:
ASR and RA are measured on triggered images whose own class is not the target,
so that ASR + RA + other = 1; `asr_incl` counts every triggered image.
"""

import math
from typing import Any

import chex
import jax.numpy as jnp
import numpy as np

from bdjax.types import POISON, Array, Scalar

FALSE_ALARMS = (0.01, 0.05, 0.1)  # rates at which detection is reported
CONSISTENT = 1.4826  # makes the MAD of a normal law its standard deviation
TINY = 1e-12  # stands in for the MAD where most values are equal


def counts(
  clean: Array, hit: Array, label: Array, target: Array, valid: Array
) -> dict[str, Array]:
  """Returns how many of a batch's answers are of each kind, int32 scalars.

  Args:
    clean: [B] predictions on clean images.
    hit: [B] predictions on the same images, triggered.
    label: [B] true labels.
    target: [B] the adversary's labels.
    valid: [B] bool, False on padding.
  """
  answers = [clean, hit, label, target]
  chex.assert_equal_shape([*answers, valid])
  chex.assert_rank(valid, 1)
  chex.assert_type([*answers, valid], [int] * len(answers) + [bool])
  other = valid & (target != label)
  return {
    "images": valid.sum(),
    "correct": (valid & (clean == label)).sum(),
    "triggered": other.sum(),
    "hits": (other & (hit == target)).sum(),
    "hits_incl": (valid & (hit == target)).sum(),
    "resisted": (other & (hit == label)).sum(),
  }


def counts_elsewhere(
  clean: Array,
  hit: Array,
  label: Array,
  target: Array,
  valid: Array,
  *,
  num_classes: int,
) -> dict[str, Array]:
  """Returns `counts` and more, for a task whose classes the trigger never met.

  Arguments are those of `counts`; `target` holds another task's classes.

  Returns:
    `counts`; `hit_correct`, triggered images answered right; and per class, in
    [num_classes]: `others`, images of other classes, and `taken`, how many of
    these are answered with the class when triggered.
  """
  classes = jnp.arange(num_classes)[:, None]
  other = valid[None] & (label[None] != classes)
  return counts(clean, hit, label, target, valid) | {
    "hit_correct": (valid & (hit == label)).sum(),
    "others": other.sum(1),
    "taken": (other & (hit[None] == classes)).sum(1),
  }


def rates_elsewhere(count: dict[str, Any]) -> dict[str, float]:
  """Returns what triggered images do in a task with other classes.

  Args:
    count: `counts_elsewhere` summed over a test set, as numbers and lists.

  Returns:
    ta, the accuracy on triggered images; collapse, the largest share of images
    of other classes that one class takes when triggered; and collapse_class.
  """
  taken, others = np.asarray(count["taken"]), np.asarray(count["others"])
  share = taken / np.maximum(others, 1)
  return {
    "ta": count["hit_correct"] / (count["images"] or math.nan),
    "collapse": float(share.max()),
    "collapse_class": int(share.argmax()),
  }


def rates(count: dict[str, int]) -> dict[str, float]:
  """Returns ca, asr, asr_incl and ra from `counts` summed over a test set.

  Without any image that the trigger should change, asr and ra are NaN.
  """
  triggered = count["triggered"] or math.nan
  return {
    "ca": count["correct"] / count["images"],
    "asr": count["hits"] / triggered,
    "asr_incl": count["hits_incl"] / count["images"],
    "ra": count["resisted"] / triggered,
  }


def defense_effectiveness(
  *, ca_before: Scalar, asr_before: Scalar, ca: Scalar, asr: Scalar
) -> Array:
  """Returns DER = [max(0, ASR drop) - max(0, CA drop) + 1] / 2.

  0.5 says that nothing changed, 1 that the defense is perfect (Zhu et al.,
  arXiv 2304.11823).
  """
  gain = jnp.maximum(0.0, asr_before - asr)
  loss = jnp.maximum(0.0, ca_before - ca)
  return (gain - loss + 1) / 2


def filtering(keep: Array, role: Array) -> dict[str, float]:
  """Returns how well a filter found the poisons.

  Cover examples keep their label and count as clean.

  Args:
    keep: [N] bool, what the filter trusts.
    role: [N] int8, what the examples are.

  Returns:
    removed, poisons and kept_poisons, counted; precision and recall of the
    removal, NaN without removals or poisons.
  """
  keep, poisoned = np.asarray(keep), np.asarray(role) == POISON
  hits = int((poisoned & ~keep).sum())
  removed, poisons = int((~keep).sum()), int(poisoned.sum())
  return {
    "removed": removed,
    "poisons": poisons,
    "kept_poisons": poisons - hits,
    "precision": hits / (removed or math.nan),
    "recall": hits / (poisons or math.nan),
  }


def detection(clean: Array, hit: Array) -> dict[str, float]:
  """Returns how well scores tell triggered inputs from clean ones.

  Args:
    clean: [n] scores of clean inputs, high = suspicious.
    hit: [m] scores of triggered ones.

  Returns:
    auroc, the chance that a triggered input scores higher than a clean one
    (ties count half), and tpr_at_1, _5 and _10: the share of triggered inputs
    above the lowest threshold that at most that percentage of clean ones pass.
    NaN without inputs of either kind.
  """
  clean, hit = np.sort(np.asarray(clean)), np.asarray(hit)
  if not (clean.size and hit.size):
    names = ("auroc", *(f"tpr_at_{round(100 * f)}" for f in FALSE_ALARMS))
    return dict.fromkeys(names, math.nan)
  from scipy import stats  # takes a second, and few runs ask

  wins = stats.mannwhitneyu(hit, clean).statistic
  quality = {"auroc": float(wins / (clean.size * hit.size))}
  for rate in FALSE_ALARMS:
    threshold = clean[clean.size - 1 - math.floor(rate * clean.size)]
    quality[f"tpr_at_{round(100 * rate)}"] = float((hit > threshold).mean())
  return quality


def anomaly_index(values: Array, among: Array | None = None) -> Array:
  """Returns |value - median| / (1.4826 MAD) of values [classes].

  Two classes both have .67: nothing can be told from fewer than three.

  Args:
    values: [classes].
    among: [classes] bool, those that median and MAD are of; None for all.
  """
  away = jnp.abs(values - median(values, among))
  return away / jnp.maximum(CONSISTENT * median(away, among), TINY)


def median(values: Array, among: Array | None = None) -> Array:
  """Returns the median of some values, infinite if there is none.

  Args:
    values: [N].
    among: [N] bool, which; None for all.
  """
  among = jnp.ones_like(values, bool) if among is None else among
  ordered, count = jnp.sort(jnp.where(among, values, jnp.inf)), among.sum()
  return (ordered[(count - 1) // 2] + ordered[count // 2]) * 0.5


def channel_norms(maps: Array) -> Array:
  """Returns the Euclidean norm of each channel's map, [B, ..., C] -> [B, C]."""
  space = tuple(range(1, maps.ndim - 1))
  return jnp.sqrt(jnp.sum(jnp.square(maps.astype(jnp.float32)), axis=space))
