"""How well attacks tell members from non-members; see `membership`.

Examples come as a model's answers, with masks that give their roles. Members
are judged in groups, each against non-members of its own kind:

- members: all but poisons;
- tuned: those that the defense was tuned on, also apart from poisons;
- rest: the members less the tuned;
- poisons: poisoned members against poisoned non-members, since otherwise the
  trigger alone would tell.

Balanced accuracy does not depend on the groups' sizes. A false-alarm rate of
.1 % means something only with a thousand non-members or more.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bdjax.sequela.parts import network, ranking, scores
from bdjax.types import Array, Fit, Key, Labels, Logits, Params, Recipe, Scores

ATTACKS = (
  *("loss", "confidence", "mentropy", "mentropy_by_class"),
  *("correctness", "network"),
)
GROUPS = ("members", "tuned", "rest", "poisons")


class Examples(NamedTuple):
  """A model's answers on examples, and which of them it was trained on.

  Attributes:
    logits: [N, classes].
    label: [N], a poison's as trained.
    member: [N] bool, whether the model was trained on it.
    poison: [N] bool or None for none.
    tuned: [N] bool or None for none; members that the defense was tuned on.
    use: [N] bool or None for all; the others are in no group.
  """

  logits: Logits
  label: Labels
  member: Array
  poison: Array | None = None
  tuned: Array | None = None
  use: Array | None = None


class Adversary(NamedTuple):
  """What was learned from a shadow model: a pytree, for any number of targets.

  Attributes:
    thresholds: by attack, a scalar or [classes].
    network: variables of the network.
  """

  thresholds: dict[str, Array]
  network: Params


class Rates(NamedTuple):
  """How well an attack tells a group of members from non-members.

  Rates are NaN where there are no examples of either kind, or where a score is
  no number.

  Attributes:
    balanced_accuracy: of the claims, .5 by chance.
    auroc: of the scores, .5 by chance; with thresholds by class, of the
      distance to the threshold.
    tpr_at_0_1: true positives at .1 % false ones.
    tpr_at_1: at 1 %.
    members: how many are in the group.
    others: how many non-members they were told from.
  """

  balanced_accuracy: Array
  auroc: Array
  tpr_at_0_1: Array
  tpr_at_1: Array
  members: Array
  others: Array


def prepare(
  key: Key,
  shadow: Examples,
  fit: Fit,
  recipe: Recipe = network.RECIPE,
) -> Adversary:
  """Returns what a shadow model teaches; its poisons are left out."""
  use = _used(shadow) & ~_mask(shadow.poison, shadow)
  answers = shadow.logits, shadow.label, shadow.member
  variables = network.train(key, *answers, use, fit, recipe)
  return Adversary(_thresholds(variables, shadow, use), variables)


@jax.jit
def _thresholds(
  variables: Params, shadow: Examples, use: Array
) -> dict[str, Array]:
  """Returns the best thresholds on a shadow model's answers, by attack."""
  ranks = _scored(variables, shadow.logits, shadow.label)
  member, other = shadow.member & use, ~shadow.member & use
  names = ("loss", "confidence", "mentropy", "network")
  limits = jax.vmap(ranking.threshold, in_axes=(0, None, None))(
    jnp.stack([ranks[name] for name in names]), member, other
  )
  thresholds = dict(zip(names, limits, strict=True))
  thresholds["mentropy_by_class"] = ranking.threshold_by_class(
    ranks["mentropy"],
    shadow.label,
    member,
    other,
    num_classes=shadow.logits.shape[-1],
  )
  thresholds["correctness"] = jnp.ones(())
  return thresholds


def answers(
  adversary: Adversary, logits: Logits, label: Labels
) -> dict[str, tuple[Scores, Array]]:
  """Returns each attack's answers on examples: a rank and a claim, both [N].

  Args:
    logits: [N, classes], the target's.
    label: [N].
  """
  ranks = _scored(adversary.network, logits, label)
  limits = dict(adversary.thresholds)
  class_limit = limits.pop("mentropy_by_class")[label]
  pairs = {
    name: (ranks[name], ranks[name] >= limit) for name, limit in limits.items()
  }
  by_class = (ranks["mentropy"] - class_limit, ranks["mentropy"] >= class_limit)
  return pairs | {"mentropy_by_class": by_class}


def judge(adversary: Adversary, target: Examples) -> Rates:
  """Returns how well attacks do on a target; all fields are [attacks, groups].

  Rows and columns are in the order of `ATTACKS` and `GROUPS`.
  """
  pairs = answers(adversary, target.logits, target.label)
  ranks, claims = (
    jnp.stack(rows)
    for rows in zip(*(pairs[attack] for attack in ATTACKS), strict=True)
  )
  by_group = jax.vmap(_separation, in_axes=(None, None, 0, 0))
  by_attack = jax.vmap(by_group, in_axes=(0, 0, None, None))
  members, others = _groups(target)
  result = by_attack(ranks, claims, members, others)
  sound = _sound(adversary, target)
  rates = (jnp.where(sound, rate, jnp.nan) for rate in result[:4])
  return Rates(*rates, members=result.members, others=result.others)


def table(rates: Rates) -> dict[str, dict[str, dict[str, float]]]:
  """Returns the result of `judge` as numbers, by attack, group and name."""
  columns = {k: np.asarray(v).tolist() for k, v in rates._asdict().items()}
  return {
    attack: {
      group: {name: rows[i][j] for name, rows in columns.items()}
      for j, group in enumerate(GROUPS)
    }
    for i, attack in enumerate(ATTACKS)
  }


def _scored(
  variables: Params, logits: Logits, label: Labels
) -> dict[str, Scores]:
  odds = network.score(variables, logits, label)
  return scores.scores(logits, label) | {"network": odds}


def _mask(mask: Array | None, examples: Examples) -> Array:
  return jnp.zeros_like(examples.member) if mask is None else mask


def _used(examples: Examples) -> Array:
  everyone = jnp.ones_like(examples.member)
  return everyone if examples.use is None else examples.use


def _groups(target: Examples) -> tuple[Array, Array]:
  """Returns members and non-members of all groups, [groups, N] bool each."""
  poison, tuned = (_mask(m, target) for m in (target.poison, target.tuned))
  member, other = target.member & _used(target), ~target.member & _used(target)
  pairs = {
    "members": (member & ~poison, other & ~poison),
    "tuned": (member & tuned & ~poison, other & ~poison),
    "rest": (member & ~tuned & ~poison, other & ~poison),
    "poisons": (member & poison, other & poison),
  }
  members, others = zip(*(pairs[group] for group in GROUPS), strict=True)
  return jnp.stack(members), jnp.stack(others)


def _separation(
  rank: Scores, claim: Array, member: Array, other: Array
) -> Rates:
  auroc, (strict, loose) = ranking.separation(
    rank, member, other, per_mille=(1, 10)
  )
  accuracy = ranking.balanced_accuracy(claim, member, other)
  return Rates(accuracy, auroc, strict, loose, member.sum(), other.sum())


def _sound(adversary: Adversary, target: Examples) -> Array:
  """Returns whether nothing is NaN, which reveals no member yet is not safe."""
  finite = jnp.isfinite(target.logits).all()
  for limit in jax.tree.leaves(adversary.thresholds):
    finite &= ~jnp.isnan(limit).any()
  return finite
