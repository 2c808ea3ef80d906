"""Whether a printed number was found again.

The rule, for each printed cell; the first that applies:

1. The paper has a dash: `no published value`. Nothing was measured:
   `not measured`. Only other data than the paper's was: `not comparable`.
2. A defense is judged only where there was a backdoor. A model counts as
   planted from an ASR of 90 % on, or from 10 points below the printed one. If
   the model before the defense is below in any seed, and the paper's was above
   50 % (or the paper does not say), or if its accuracy was at chance, the cell
   is `not comparable: not planted`.
3. A defense that destroyed the model removed nothing from it: if CA fell by
   more than half of what it was above chance, and the printed CA did not, the
   cell is `destroyed`.
4. Hours are another machine's: `not comparable`.
5. The protocol is the paper's, and no method has an argument that its preset
   does not give: `reproduced` if our whole 95 % interval lies within 2 points
   (CA) or 5 (ASR, accuracy on triggered images, drops) of the printed value,
   which allow for rounding and for the seeds that the papers do not give; `not
   reproduced` if it lies wholly outside; else `undecided`.
6. The protocol is our own, with fewer images, epochs or channels: only the ASR
   says something of the paper, and only in kind. With our whole interval on
   the printed value's side of 50 %, Forget-Me-Not's criterion of success, it is
   `reproduced in kind`, on the other side `not reproduced in kind`, and across
   `undecided`. Everything else is `not comparable`.

The interval (`bdjax.study.measured`) is Student's over seeds; one seed has
none, and decides nothing. The cell of an undefended model is not subject to 2
and 3: an attack that could not be planted is what it says. Such cells are
counted apart, since they say nothing of a defense.
"""

from typing import NamedTuple

from bdjax.report import tables
from bdjax.report.judging import NONE
from bdjax.study.measured import POINT, Reading
from bdjax.study.published import Cell

REPRODUCED, REPRODUCED_NOT = "reproduced", "not reproduced"
KIND, KIND_NOT = "reproduced in kind", "not reproduced in kind"
OPEN, FOREIGN = "undecided", "not comparable"
UNPLANTED, DESTROYED = "not comparable: not planted", "destroyed"
UNMEASURED, UNPRINTED = "not measured", "no published value"
WORDS = (
  *(REPRODUCED, KIND, OPEN, REPRODUCED_NOT, KIND_NOT),
  *(DESTROYED, FOREIGN, UNPLANTED, UNMEASURED, UNPRINTED),
)
SIDE = 50.0  # percent: an attack of this ASR succeeds
PLANTED = 100 * tables.PLANTED  # percent
SHORT = 10.0  # points below the printed ASR, which are as good
WIDER = {"ca": 2.0, "asr": 5.0, "ta": 5.0, "drop": 5.0}  # points


class Verdict(NamedTuple):
  """What came of a printed cell."""

  word: str  # one of WORDS
  why: str


class Model(NamedTuple):
  """What is known of the model that a defense was run on, and of its result.

  Attributes:
    before: ASR measured before the defense; None where that is not known.
    printed_before: the paper's; None where it does not say.
    ruined: whether the defense destroyed the model here, and not in the paper.
    untaught: whether it was no classifier before the defense.
  """

  before: Reading | None = None
  printed_before: float | None = None
  ruined: bool = False
  untaught: bool = False


UNKNOWN = Model()


def judge(
  cell: Cell,
  reading: Reading | None,
  model: Model = UNKNOWN,
  *,
  paper: bool,
  foreign: bool = False,
) -> Verdict:
  """Returns the verdict on a printed cell.

  Args:
    cell: the cell.
    reading: what was measured of it.
    model: what is known of its model.
    paper: whether the protocol is the paper's.
    foreign: whether only other data was measured.
  """
  if cell.value is None:
    return Verdict(UNPRINTED, "the paper has a dash")
  if reading is None:
    return Verdict(UNMEASURED, "no record of this model and defense")
  if foreign:
    return Verdict(FOREIGN, "other data")
  if cell.defense != NONE and unplanted(model.before, model.printed_before):
    why = f"ASR before the defense {_least(model.before):.1f}"
    return Verdict(UNPLANTED, why)
  if cell.defense != NONE and model.untaught:
    return Verdict(UNPLANTED, "accuracy at chance before the defense")
  if cell.defense != NONE and model.ruined:
    return Verdict(DESTROYED, "CA fell by more than half, above chance")
  if cell.metric not in WIDER:
    return Verdict(FOREIGN, "hours of another machine")
  if not paper and cell.metric != "asr":
    return Verdict(FOREIGN, "smaller protocol")
  if reading.how == POINT:
    return Verdict(OPEN, "one seed")
  if not paper:
    return _in_kind(cell.value, reading)
  return _exact(cell.value, reading, WIDER[cell.metric])


def unplanted(
  before: Reading | None, printed_before: float | None = None
) -> bool:
  """Returns whether a seed's model lacks the backdoor that the paper's has."""
  if before is None or (printed_before is not None and printed_before < SIDE):
    return False
  printed = PLANTED + SHORT if printed_before is None else printed_before
  return _least(before) < min(PLANTED, printed - SHORT)


def _least(reading: Reading) -> float:
  """Returns the lowest value of a seed."""
  return min((value for _, value in reading.values), default=reading.mean)


def _exact(value: float, reading: Reading, room: float) -> Verdict:
  low, high = value - room, value + room
  ends = f"[{reading.low:.1f}, {reading.high:.1f}]"
  if low <= reading.low and reading.high <= high:
    return Verdict(REPRODUCED, f"{ends} lies within {value:g} ± {room:g}")
  if reading.high < low or reading.low > high:
    return Verdict(REPRODUCED_NOT, f"{ends} lies outside {value:g} ± {room:g}")
  return Verdict(OPEN, f"{ends} crosses an end of {value:g} ± {room:g}")


def _in_kind(value: float, reading: Reading) -> Verdict:
  ends = f"[{reading.low:.1f}, {reading.high:.1f}]"
  if reading.low < SIDE <= reading.high:
    return Verdict(OPEN, f"{ends} holds {SIDE:g}")
  side = "above" if reading.low >= SIDE else "below"
  same = (reading.low >= SIDE) == (value >= SIDE)
  agreement = "as printed" if same else "unlike the printed value"
  return Verdict(KIND if same else KIND_NOT, f"{side} {SIDE:g}, {agreement}")
