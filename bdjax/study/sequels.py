"""What Sha et al. say a defense leaves behind, as questions to the records.

Of that part only summaries are at hand. On re-injection they contradict each
other, so that both directions are asked.
"""

from collections.abc import Callable

from bdjax.report import results
from bdjax.report.sequela import ATTACKS as LEAKS
from bdjax.study import match
from bdjax.study.claim import Claim, Part, places, under
from bdjax.study.match import Evidence
from bdjax.study.measured import Reading, estimate

INJECTED = ("blended", "inputaware", "lf", "wanet")  # Figures 9 to 12
_ROOM = 2  # points
_SUPER = "super_ft"


def _reading(records: list[results.Record], key: str) -> Reading | None:
  """Returns the mean of a number in [0, 1] over seeds, in percent."""
  values = {record["seed"]: record.get(key) for record in records}
  if not values or None in values.values():
    return None
  return estimate({seed: 100 * value for seed, value in values.items()})


def _chosen(
  evidence: Evidence, kind: str, row: str, defense: str
) -> list[results.Record]:
  """Returns the records of one kind, row (datasets, attack) and defense."""
  *place, attack = row.split(" ")
  return [
    record
    for record in evidence.run.sequela
    if record["kind"] == kind
    and match.datasets(record["dataset"]) == tuple(place)
    and record["attack"]
    and _name(record["attack"]) == attack
    and record["defense"] == defense
  ]


def _name(label: str) -> str:
  spec = match.spec(label)
  return spec.name if spec else label


def _supers(evidence: Evidence) -> list[str]:
  labels = {r["defense"] for r in evidence.run.sequela}
  return sorted(x for x in labels if _name(x) == _SUPER) or [_SUPER]


def _no_leak(evidence: Evidence) -> list[Part]:
  attacks = dict.fromkeys(
    _name(r["attack"]) for r in evidence.run.sequela if r["attack"]
  )
  answers = []
  for row in (f"{p}{a}" for p in places(evidence) for a in attacks):
    planted = _chosen(evidence, "membership", row, "none")
    for defense in _supers(evidence):
      defended = _chosen(evidence, "membership", row, defense)
      for leak in LEAKS:
        key = f"{leak}.members.auroc"
        after, before = _reading(defended, key), _reading(planted, key)
        what = f"{row}, {defense}, AUROC of {leak} and before"
        answers.append(under(after, before, what, room=_ROOM))
  return answers or [Part("membership inference", None, measured=False)]


def _relapse(*, sooner: bool) -> Callable[[Evidence], list[Part]]:
  """Returns the question whether a backdoor returns sooner, or does not."""

  def parts(evidence):
    answers = []
    for row in (f"{p}{a}" for p in places(evidence) for a in INJECTED):
      clean = _area(evidence, row, results.CLEAN_MODEL)
      for defense in _supers(evidence):
        defended = _area(evidence, row, defense)
        if sooner:
          what = f"{row}, area of a clean model and of {defense}"
          answers.append(under(clean, defended, what))
        else:
          what = f"{row}, area of {defense} and of a clean model"
          answers.append(under(defended, clean, what, room=_ROOM))
    return answers

  return parts


def _area(evidence: Evidence, row: str, defense: str) -> Reading | None:
  return _reading(_chosen(evidence, "reinjection", row, defense), "area")


_AREA = "area under the curve of ASR by epoch"
CLAIMS = (
  Claim(
    "sha_membership",
    ("sha_membership",),
    "Sha et al., on sequela, as two summaries have it",
    "Super-fine-tuning does not increase the risk of membership inference.",
    "AUROC against members at most 2 points above that of the planted model",
    _no_leak,
  ),
  Claim(
    "sha_reinjection_easier",
    ("sha_reinjection",),
    "Sha et al., Figures 9 to 12, as one summary has it",
    "Models after super-fine-tuning are more vulnerable to re-injection than "
    "clean ones. (Another: only moderately. The texts contradict each other.)",
    f"{_AREA} above that of a clean model",
    _relapse(sooner=True),
  ),
  Claim(
    "sha_reinjection_not_easier",
    ("sha_reinjection",),
    "Sha et al., Figures 9 to 12, as another summary has it",
    "Super-fine-tuning does not make re-injection easier. (The texts "
    "contradict each other.)",
    f"{_AREA} at most 2 points above that of a clean model",
    _relapse(sooner=False),
  ),
)
