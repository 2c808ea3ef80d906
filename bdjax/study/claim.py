"""A paper's claim as a question to the records, and how it is settled.

A claim is asked of several cells. Of each, the answer is true or false where
the whole 95 % interval lies on one side, else open. A claim about `every` cell
is supported if all are measured and true, and not supported by one that is
false; about `most`, more than half of all cells must be true, or half false;
about `some`, one must be true, or all false. Otherwise it is undecided. So is
the answer of one seed, which has no interval; two models are compared seed by
seed. A model in which the backdoor was not planted (see above), or which the
defense destroyed, cannot tell of that defense, and counts as not measured, but
for the accuracy that is left; so does membership of a model that does not
memorize. Seeds that diverged are in no mean, and counted behind it.
Procedural images, which are for trying a study out, settle nothing: what they
say is shown, and the claim is not comparable.
"""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from bdjax.report.judging import NONE
from bdjax.study import match, published, verdict
from bdjax.study.match import Evidence
from bdjax.study.measured import Reading

SUPPORTED, OPPOSED, OPEN = "supported", "not supported", "undecided"
EVERY, MOST, SOME = "every", "most", "some"
DETECTION = ("index", "detected")  # metrics of what a defense notices


class Part(NamedTuple):
  """One cell's answer."""

  what: str
  truth: bool | None = None  # None where the interval straddles
  measured: bool = True
  why: str = ""  # it does not count as measured, where it was asked


class Claim(NamedTuple):
  """What a paper says.

  Attributes:
    name: a short name.
    studies: whose pages ask it.
    source: paper and place.
    sentence: what is said.
    test: how that is asked of the records.
    parts: asks.
    need: every, most or some.
  """

  name: str
  studies: tuple[str, ...]
  source: str
  sentence: str
  test: str
  parts: Callable[[Evidence], list[Part]]
  need: str = EVERY


class Finding(NamedTuple):
  """What came of a claim."""

  claim: Claim
  status: str  # SUPPORTED, OPPOSED, OPEN or verdict.FOREIGN
  measured: int
  of: int
  open: int  # measured, but on neither side
  against: list[str]
  toy: str = ""  # what procedural images say, if they were asked
  why: str = ""  # cells that were asked do not count, and how many

  @property
  def words(self) -> str:
    """The status, and of how many cells where it is undecided."""
    if self.toy:
      return f"{self.status}: procedural images ({self.toy} there)"
    if self.status != OPEN:
      return self.status
    why = f"; {self.why}" if self.why else ""
    return f"{OPEN} ({self.measured} of {self.of} cells measured{why})"


def settle(claim: Claim, parts: list[Part]) -> Finding:
  """Returns what a claim's cells say together."""
  truths = [part.truth for part in parts if part.measured]
  of, true, false = len(parts), truths.count(True), truths.count(False)
  yes, no = {
    EVERY: (true == of, false > 0),
    MOST: (2 * true > of, 2 * false >= of),
    SOME: (true > 0, false == of),
  }[claim.need]
  status = OPEN
  if of and (yes or no):
    status = SUPPORTED if yes else OPPOSED
  against = [p.what for p in parts if p.measured and p.truth is False]
  left = len(truths) - true - false
  reasons = Counter(part.why for part in parts if part.why)
  why = ", ".join(f"{reason}: {count}" for reason, count in reasons.items())
  return Finding(claim, status, len(truths), of, left, against, why=why)


def ask(evidence: Evidence, row: str, column: str) -> Reading | None:
  """Returns what was measured of a cell in the words of docs/published.

  None also where the model had no backdoor that a defense could remove, or
  nothing is left of the model, which its accuracy may say all the same; and
  where only a tuning with other arguments than the paper's was run.
  """
  cell = published.cell(evidence.study, row, column)
  reading = match.reading(evidence, cell)
  if reading is None or match.stretched(evidence, cell):
    return None
  if cell.defense == NONE and cell.metric in ("ca", "gpu_hours"):
    return reading
  if match.untaught(evidence, cell):
    return None
  if cell.defense == NONE:
    return reading
  start = match.before(cell)
  weak = cell.regime != "clean" and verdict.unplanted(
    match.started(evidence, cell), published.value(start)
  )
  says = cell.metric in ("ca", *DETECTION)  # of the model as it was or is
  ruined = not says and match.destroyed(evidence, cell)
  return None if weak or ruined else reading


def below(reading: Reading | None, limit: float, what: str) -> Part:
  """Returns whether a reading is below a limit."""
  if reading is None:
    return Part(what, None, measured=False)
  truth = None if reading.low < limit <= reading.high else reading.high < limit
  return Part(_words(what, reading), truth)


def reaches(reading: Reading | None, limit: float, what: str) -> Part:
  """Returns whether a reading is a limit or more."""
  part = below(reading, limit, what)
  return part._replace(truth=None if part.truth is None else not part.truth)


def under(
  one: Reading | None, other: Reading | None, what: str, *, room: float = 0
) -> Part:
  """Returns whether one reading is below another, or at most `room` above."""
  if one is None or other is None:
    return Part(what, None, measured=False)
  gap = one.less(other)
  truth = True if gap.high < room else False if gap.low > room else None
  means = f"{one.mean:.1f} and {other.mean:.1f}"
  return Part(f"{what}: {means}{also(one, other)}", truth)


def places(evidence: Evidence) -> list[str]:
  """Returns what rows of the measured datasets begin with."""
  named = [" ".join(place) for place in evidence.places]
  return [f"{name} " for name in named]


def each(
  judge: Callable[[Reading | None, float, str], Part],
  limit: float,
  regime: str,
  attacks: tuple[str, ...],
  *columns: str,
) -> Callable[[Evidence], list[Part]]:
  """Returns the question whether attacks' cells are on a side of a limit.

  Args:
    judge: `below` or `reaches`.
    limit: in percent.
    regime: of the models.
    attacks: on every dataset measured.
    columns: in the words of docs/published.
  """

  def parts(evidence):
    rows = [f"{p}{a} {regime}" for p in places(evidence) for a in attacks]
    return [
      judge(ask(evidence, row, column), limit, f"{row}, {column}")
      for row in rows
      for column in columns
    ]

  return parts


def gaps(
  regime: str, attacks: tuple[str, ...], low: str, high: str, *, room: float = 0
) -> Callable[[Evidence], list[Part]]:
  """Returns the question whether one column is below another.

  Args:
    regime: of the models.
    attacks: on every dataset measured.
    low: the column that should be lower.
    high: the other.
    room: points that it may be higher all the same.
  """

  def parts(evidence):
    rows = [f"{p}{a} {regime}" for p in places(evidence) for a in attacks]
    return [
      under(
        ask(evidence, row, low),
        ask(evidence, row, high),
        f"{row}, {low} against {high}",
        room=room,
      )
      for row in rows
    ]

  return parts


def _words(what: str, reading: Reading) -> str:
  ends = f"[{reading.low:.1f}, {reading.high:.1f}]"
  return f"{what}: {reading.mean:.1f} {ends}{also(reading)}"


def also(*readings: Reading) -> str:
  """Returns how many seeds are not among readings' since they diverged."""
  count = sum(reading.diverged for reading in readings)
  return f", {count} diverged" if count else ""
