"""What a cleansing found and did: the input of the verdict and of the page.

The suspect and the repaired model are asked the same, and what differs is what
the repair did.
"""

from pathlib import Path
from typing import NamedTuple

from bdjax.cleanse import measure, weights
from bdjax.cleanse.agenda import Agenda
from bdjax.cleanse.audit import Audit
from bdjax.cleanse.case import Case
from bdjax.cleanse.measure import Answers, Share, Taken
from bdjax.cleanse.pictures import printable
from bdjax.cleanse.repair import Repair
from bdjax.cleanse.weights import Change
from bdjax.types import Params

_LIFTED = 0.1  # accuracy that no repair of a model that is read rightly brings
_TAUGHT = 0.5  # the same of one class
_TAKEN = 0.5  # share of suspected images in one class that is striking


class Result(NamedTuple):
  """What a cleansing found and did.

  Attributes:
    out: the repaired model's file.
    report: the page.
    facts: what it started from, in words, by what it is about.
    names: of the classes.
    defense: its spec, with what was added to it.
    notes: what was decided on the user's behalf, in sentences.
    before: the suspect's answers.
    after: the repaired model's.
    taken: of the suspected images; None without any.
    audit: of the suspect; None if it was not audited.
    doubt: what speaks against the clean images' labels; "" if nothing does.
    changes: of the layers.
    moved: relative change of all weights.
    seconds: all of it took; 0 until it is over.
    budget: seconds that it might take; None for any.
    left_out: what the budget had no room for, in sentences.
    verdict: what was found, done and not proved, as text; "" until it is told.
  """

  out: Path
  report: Path
  facts: dict[str, str]
  names: tuple[str, ...]
  defense: str
  notes: tuple[str, ...]
  before: Answers
  after: Answers
  taken: Taken | None
  audit: Audit | None
  doubt: str
  changes: tuple[Change, ...]
  moved: float
  seconds: float = 0.0
  budget: float | None = None
  left_out: tuple[str, ...] = ()
  verdict: str = ""

  @property
  def accuracy(self) -> tuple[Share, Share]:
    """Accuracy on held-out images, before and after."""
    return self.before.accuracy, self.after.accuracy

  @property
  def doubtful(self) -> bool:
    """Whether the suspect was likely misread, or its images are."""
    return bool(self.lifted or self.taught or self.doubt)

  @property
  def lifted(self) -> bool:
    """Whether the repair raised accuracy as it can only of a misread model."""
    return _raised(*self.accuracy, _LIFTED)

  @property
  def taught(self) -> list[int]:
    """Classes that the suspect mostly took for one other, and now knows."""
    counts = self.before.confusion
    return [
      c
      for c, d in enumerate(counts.argmax(1))
      if c != d
      and 2 * counts[c, d] > counts[c].sum()
      and _raised(self.before.of_class(c), self.after.of_class(c), _TAUGHT)
    ]

  @property
  def chance(self) -> str:
    """The share of images that one class gets by chance, in words."""
    count = len(self.names)
    return f"{100 / count:.1f} % (1 of {count} classes)"

  @property
  def usual(self) -> Share:
    """Clean held-out images that get the class of most suspected ones.

    Of other classes if that is how suspected images were counted.
    """
    c = self.taken.target
    return self.before.drawn(c) if self.taken.right else self.before.given(c)

  @property
  def striking(self) -> bool:
    """Whether most suspected images get one class, and not by chance."""
    share = self.taken.before
    clean = max(self.usual.interval[1], 1 / len(self.names))
    return share.rate >= _TAKEN and share.interval[0] > clean

  def called(self, c: int) -> str:
    """Returns a class's number, with its name if it has another."""
    name = printable(self.names[c])
    return str(c) if name == str(c) else f"{c} ({name})"


def _raised(before: Share, after: Share, least: float) -> bool:
  """Returns whether a share rose by so much, and not by chance."""
  apart = after.interval[0] > before.interval[1]
  return apart and after.rate - before.rate >= least


def compared(
  case: Case,
  cleaned: Params,
  repair: Repair,
  audit: Audit | None,
  *,
  out: Path,
  report: Path,
  agenda: Agenda,
) -> Result:
  """Asks the suspect and the repaired model, and compares them.

  Args:
    case: the suspect and the images.
    cleaned: the repaired variables.
    repair: what repaired.
    audit: of the suspect, if it was audited.
    agenda: what was left out.
    out: where the repaired model goes.
    report: where the page goes.
  """
  pair = case.suspect.variables, cleaned
  before, after = (_answers(case, variables) for variables in pair)
  taken = None
  if case.images.triggered is not None:
    taken = measure.taken(before, after, case.images.triggered_label)
  old, new = map(case.suspect.named, pair)
  return Result(
    out=out,
    report=report,
    facts=case.facts,
    names=case.images.names,
    defense=repair.label,
    notes=(*case.notes, *repair.notes),
    before=before,
    after=after,
    taken=taken,
    audit=audit,
    doubt=case.doubt,
    changes=weights.changes(old, new),
    moved=weights.whole(old, new),
    budget=agenda.budget,
    left_out=tuple(agenda.left_out),
  )


def _answers(case: Case, variables: Params) -> Answers:
  return measure.answers(
    case.model,
    variables,
    case.held_image,
    case.held_label,
    num_classes=case.suspect.num_classes,
    triggered=case.images.triggered,
    seed=case.seed,
  )
