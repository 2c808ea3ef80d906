"""What Sha et al. say a defense leaves behind, as questions to the records.

Of that part only summaries are at hand. On re-injection they contradict each
other, so that both directions are asked; the clean model that they mean is
taken to have gone through the same defense. Membership is judged by AUROC and
by true positives at 1 % false ones, each only where models memorize by it.
"""

from collections.abc import Callable

from bdjax.report import leftovers, results
from bdjax.report.judging import NONE
from bdjax.report.leftovers import MEMORIZES_NOT, Beside
from bdjax.report.sequela import ATTACKS as LEAKS
from bdjax.study import labels, match
from bdjax.study.claim import Claim, Part, places, under
from bdjax.study.match import Evidence
from bdjax.study.measured import Reading, estimate

INJECTED = ("blended", "inputaware", "lf", "wanet")  # Figures 9 to 12
_ROOM = 2  # points
_RATES = {  # of membership, with the points of room that are chosen for each
  "auroc": ("AUROC", _ROOM),
  "tpr_at_1": ("TPR at 1 %", 1),
}
_SUPER = "super_ft"


def _reading(records: list[results.Record], key: str) -> Reading | None:
  """Returns the mean of a number in [0, 1] over seeds, in percent."""
  values = {record["seed"]: record.get(key) for record in records}
  if not values or None in values.values():
    return None
  return estimate({seed: 100 * value for seed, value in values.items()})


def _chosen(
  evidence: Evidence, kind: str, row: str, defense: str, *, clean: bool = False
) -> list[results.Record]:
  """Returns the records of one kind, row (datasets, attack) and defense.

  They are of conventional training, as the paper's, and of the first sequel of
  the kind that was asked.

  Args:
    evidence: what was measured.
    kind: of sequel.
    row: datasets and attack.
    defense: that the models went through.
    clean: of clean models instead, into which the row's poisons were trained.
  """
  *place, attack = row.split(" ")

  def fits(record: results.Record) -> bool:
    here = leftovers.place(record)
    return (
      record["kind"] == kind
      and match.datasets(record["dataset"]) == tuple(place)
      and bool(here.attack)
      and _name(here.attack) == attack
      and here.regime in (None, "conventional")
      and (here.clean, here.defense) == (clean, defense)
    )

  found = list(filter(fits, evidence.run.sequela))
  return [r for r in found if r["sequel"] == found[0]["sequel"]]


def _name(label: str) -> str:
  spec = labels.spec(label)
  return spec.name if spec else label


def _supers(evidence: Evidence) -> list[str]:
  """Returns the forms that the paper's can have: of all clean images, plain."""
  found = set()
  for record in evidence.run.sequela:
    spec = labels.spec(record["defense"])
    plain = spec and spec.name == _SUPER and not spec.args
    if plain and not labels.partial(spec, record):
      found.add(record["defense"])
  return sorted(found) or [_SUPER]


def _no_leak(evidence: Evidence) -> list[Part]:
  attacks = dict.fromkeys(
    _name(r["attack"]) for r in evidence.run.sequela if r["attack"]
  )
  answers = [
    _leak(evidence, f"{place}{attack}", defense, leak, rate)
    for place in places(evidence)
    for attack in attacks
    for defense in _supers(evidence)
    for leak in LEAKS
    for rate in _RATES
  ]
  return answers or [Part("membership inference", None, measured=False)]


def _leak(
  evidence: Evidence, row: str, defense: str, leak: str, rate: str
) -> Part:
  """Returns whether a rate is no higher than before, where it is above chance.

  It is where every seed's undefended model memorizes by it.
  """
  defended = _chosen(evidence, "membership", row, defense)
  planted = _chosen(evidence, "membership", row, NONE)
  beside, (words, room) = Beside(evidence.run.sequela), _RATES[rate]
  key, what = f"{leak}.members.{rate}", f"{row}, {defense}, {words} of {leak}"
  known = [beside.memorizes(one, leak, "members", rate) for one in planted]
  if False in known:
    return Part(what, None, measured=False, why=MEMORIZES_NOT)
  if None in known:
    return Part(what, None, measured=False)
  pair = (_reading(defended, key), _reading(planted, key))
  return under(*pair, f"{what} and before", room=room)


def _relapse(*, sooner: bool) -> Callable[[Evidence], list[Part]]:
  """Returns the question whether a backdoor returns sooner, or does not."""

  def parts(evidence):
    answers = []
    for row in (f"{p}{a}" for p in places(evidence) for a in INJECTED):
      for defense in _supers(evidence):
        defended = _area(evidence, row, defense)
        clean = _area(evidence, row, defense, clean=True)
        if sooner:
          what = f"{row}, area after {defense} of a clean model and of this"
          answers.append(under(clean, defended, what))
        else:
          what = f"{row}, area after {defense} of this and of a clean model"
          answers.append(under(defended, clean, what, room=_ROOM))
    return answers

  return parts


def _area(
  evidence: Evidence, row: str, defense: str, *, clean: bool = False
) -> Reading | None:
  records = _chosen(evidence, "reinjection", row, defense, clean=clean)
  return _reading(records, "area")


_AREA = "area under the curve of ASR by epoch"
CLAIMS = (
  Claim(
    "sha_membership",
    ("sha_membership",),
    "Sha et al., on sequela, as two summaries have it",
    "Super-fine-tuning does not increase the risk of membership inference.",
    "AUROC against members at most 2 points, and TPR at 1 % at most 1 point, "
    "above that of the planted model, where that is above chance",
    _no_leak,
  ),
  Claim(
    "sha_reinjection_easier",
    ("sha_reinjection",),
    "Sha et al., Figures 9 to 12, as one summary has it",
    "Models after super-fine-tuning are more vulnerable to re-injection than "
    "clean ones. (Another: only moderately. The texts contradict each other.)",
    f"{_AREA} above that of a clean model after the same defense",
    _relapse(sooner=True),
  ),
  Claim(
    "sha_reinjection_not_easier",
    ("sha_reinjection",),
    "Sha et al., Figures 9 to 12, as another summary has it",
    "Super-fine-tuning does not make re-injection easier. (The texts "
    "contradict each other.)",
    f"{_AREA} at most 2 points above that of a clean model after the same "
    "defense",
    _relapse(sooner=False),
  ),
)
