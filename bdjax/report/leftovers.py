"""Records of sequela: of which model, beside which, and whether it memorizes.

A defended model is compared with the clean model of its seed after the same
defense, which tells what the defense does to any model.

Membership is asked only of models that memorize: a rate judges nothing unless
the same rate was above chance before the defense, by more than 19 in 20 models
would be that tell nothing. Of such a model, with m members and n others, a rate
has about the variance v (1 / m + 1 / n), where v is

- a (1 - a), of true positives at a share a of false ones;
- at most 1 / 16, of balanced accuracy, whatever share is claimed;
- 1 / 12, of the AUROC (Mann and Whitney, 1947, without ties).
"""

from collections.abc import Iterable
from typing import NamedTuple

from bdjax.report.judging import NONE
from bdjax.report.results import CLEAN_MODEL, Record

CHANCE = {  # of a rate: what chance gives, and v
  "auroc": (0.5, 1 / 12),
  "balanced_accuracy": (0.5, 1 / 16),
  "tpr_at_0_1": (0.001, 0.001 * 0.999),
  "tpr_at_1": (0.01, 0.01 * 0.99),
}
MEMORIZES_NOT = "does not memorize"
_NORMAL = 1.645  # 95 % of a normal distribution lie below


class Place(NamedTuple):
  """What a record of a sequel is of; no two records have the same."""

  where: tuple[str, str, str]  # dataset, model, scenario
  sequel: str
  seed: int
  attack: str | None  # None where no planted model has a part in it
  regime: str | None
  clean: bool
  defense: str  # that a model went through, clean or not; "none" before any


def place(record: Record) -> Place:
  """Returns what a record is of.

  In older records all clean models are as they were before any defense.
  """
  clean = record["defense"] == CLEAN_MODEL
  defense = record.get("clean_defense") or NONE if clean else record["defense"]
  return Place(
    (record["dataset"], record["model"], record["scenario"]),
    record["sequel"],
    record["seed"],
    record["attack"],
    record["regime"],
    clean,
    defense,
  )


def named(record: Record) -> str:
  """Returns a record's model in words."""
  here = place(record)
  if not here.clean:
    return here.defense
  return _clean(here.defense)


def order(defenses: Iterable[str]) -> list[str]:
  """Returns the models in words, a clean one behind each defense's."""
  others = [name for name in defenses if name != NONE]
  pairs = [(name, _clean(name)) for name in others]
  return [CLEAN_MODEL, NONE, *(model for pair in pairs for model in pair)]


def _clean(defense: str) -> str:
  return CLEAN_MODEL if defense == NONE else f"{CLEAN_MODEL}, {defense}"


class Beside:
  """Finds the records that a record is compared with."""

  def __init__(self, records: Iterable[Record]) -> None:
    """Takes the records of sequela that there are."""
    self._known = {place(record): record for record in records}

  def baseline(self, record: Record) -> Record | None:
    """Returns the answer of the clean model after the same defense, or None."""
    here = place(record)
    alone = here._replace(clean=True, attack=None, regime=None)
    return self._known.get(here._replace(clean=True)) or self._known.get(alone)

  def before(self, record: Record) -> Record | None:
    """Returns the answer of the same model before any defense, or None."""
    return self._known.get(place(record)._replace(defense=NONE))

  def gain(self, record: Record, name: str) -> float | None:
    """Returns how much more a number is than the clean model's, or None."""
    pair = record.get(name), (self.baseline(record) or {}).get(name)
    return None if None in pair else pair[0] - pair[1]

  def memorizes(
    self, record: Record, attack: str, group: str, rate: str
  ) -> bool | None:
    """Returns whether a rate was above chance before the defense.

    Args:
      record: of membership.
      attack: by which members are told.
      group: of members; `members`, as a whole, stand for those of them that
        the defense was tuned on and for the rest.
      rate: one of `CHANCE`.

    Returns:
      None if nobody asked, or there was nothing to tell.
    """
    group = group if group == "poisons" else "members"
    before = self.before(record) or {}
    names = (f"{attack}.{group}.{name}" for name in (rate, "members", "others"))
    value, members, others = (before.get(name) for name in names)
    if value is None or not members or not others:
      return None
    chance, variance = CHANCE[rate]
    spread = (variance * (1 / members + 1 / others)) ** 0.5
    return value > chance + _NORMAL * spread
