"""Whether a printed number was found again.

The rule, for each printed cell; the first that applies:

1. The paper has a dash: `no published value`. Nothing was measured:
   `not measured`. Only other data than the paper's was: `not comparable`.
2. A defense is judged only where there was a backdoor: if the model before it
   has an ASR below 50 % here, and above in the paper (or the paper does not
   say), the cell is `not comparable: not planted`.
3. Hours are another machine's: `not comparable`.
4. The protocol is the paper's: `reproduced` if the printed value lies in our
   95 % interval, widened on both sides by 2 points (CA) or 5 (ASR, accuracy on
   triggered images, drops) for the rounding and the seeds that the papers do
   not give; else `not reproduced`.
5. The protocol is our own, with fewer images, epochs or channels: only the ASR
   says something of the paper, and only in kind. With our whole interval on
   the printed value's side of 50 %, Forget-Me-Not's criterion of success, it is
   `reproduced in kind`, on the other side `not reproduced in kind`, and across
   `undecided`. Everything else is `not comparable`.

The interval (`bdjax.study.measured`) is Student's over seeds, and Wilson's
where there is one seed. The cell of an undefended model is not subject to 2: an
attack that could not be planted is what it says.
"""

from typing import NamedTuple

from bdjax.report.load import NONE
from bdjax.study.measured import Reading
from bdjax.study.published import Cell

REPRODUCED, REPRODUCED_NOT = "reproduced", "not reproduced"
KIND, KIND_NOT = "reproduced in kind", "not reproduced in kind"
OPEN, FOREIGN = "undecided", "not comparable"
UNPLANTED = "not comparable: not planted"
UNMEASURED, UNPRINTED = "not measured", "no published value"
WORDS = (
  *(REPRODUCED, KIND, OPEN, REPRODUCED_NOT, KIND_NOT),
  *(FOREIGN, UNPLANTED, UNMEASURED, UNPRINTED),
)
SIDE = 50.0  # percent: an attack of this ASR succeeds
WIDER = {"ca": 2.0, "asr": 5.0, "ta": 5.0, "drop": 5.0}  # points


class Verdict(NamedTuple):
  """What came of a printed cell."""

  word: str  # one of WORDS
  why: str


def judge(
  cell: Cell,
  found: Reading | None,
  *,
  paper: bool,
  foreign: bool = False,
  before: Reading | None = None,
  printed_before: float | None = None,
) -> Verdict:
  """Returns the verdict on a printed cell.

  Args:
    cell: the cell.
    found: what was measured of it.
    paper: whether the protocol is the paper's.
    foreign: whether only other data was measured.
    before: ASR measured before the defense; None where that is not known.
    printed_before: the paper's; None where it does not say.
  """
  if cell.value is None:
    return Verdict(UNPRINTED, "the paper has a dash")
  if found is None:
    return Verdict(UNMEASURED, "no record of this model and defense")
  if foreign:
    return Verdict(FOREIGN, "other data")
  if cell.defense != NONE and unplanted(before, printed_before):
    why = f"ASR before the defense {before.mean:.1f}, below {SIDE:g}"
    return Verdict(UNPLANTED, why)
  if cell.metric not in WIDER:
    return Verdict(FOREIGN, "hours of another machine")
  return _exact(cell, found) if paper else _in_kind(cell, found)


def unplanted(
  before: Reading | None, printed_before: float | None = None
) -> bool:
  """Returns whether a model lacks the backdoor that the paper's has."""
  had = printed_before is None or printed_before >= SIDE
  return before is not None and before.mean < SIDE and had


def _exact(cell: Cell, found: Reading) -> Verdict:
  room = WIDER[cell.metric]
  low, high = found.low - room, found.high + room
  inside = low <= cell.value <= high
  place = "in" if inside else "outside"
  why = f"{cell.value:g} is {place} [{low:.1f}, {high:.1f}]"
  return Verdict(REPRODUCED if inside else REPRODUCED_NOT, why)


def _in_kind(cell: Cell, found: Reading) -> Verdict:
  if cell.metric != "asr":
    return Verdict(FOREIGN, "smaller protocol")
  ends = f"[{found.low:.1f}, {found.high:.1f}]"
  if found.low < SIDE <= found.high:
    return Verdict(OPEN, f"{ends} holds {SIDE:g}")
  side = "above" if found.low >= SIDE else "below"
  same = (found.low >= SIDE) == (cell.value >= SIDE)
  said = "as printed" if same else "unlike the printed value"
  return Verdict(KIND if same else KIND_NOT, f"{side} {SIDE:g}, {said}")
