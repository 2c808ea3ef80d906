"""Printed numbers beside measured ones, a model and defense in one row.

What cannot be compared (`LEFT_OUT`) has no row of its own: it is counted, and
it lies in verdicts.csv. A row has all metrics of its model and defense, of
which those that are not judged have no verdict.
"""

from collections.abc import Sequence
from typing import Any

from bdjax.report.judging import NONE
from bdjax.study import verdict
from bdjax.study.comparison import Compared, tally

LEFT_OUT = (
  *(verdict.FOREIGN, verdict.UNPLANTED),
  *(verdict.UNMEASURED, verdict.UNPRINTED),
)
NAMES = {
  **{"asr": "ASR", "ca": "CA", "ta": "accuracy, triggered", "drop": "drop"},
  **{"gpu_hours": "hours", "index": "index", "detected": "detected"},
}


def rows(compared: Sequence[Compared]) -> list[dict[str, Any]]:
  """Returns what can be compared, in the paper's order.

  Returns:
    Rows: `model` and `defense` as printed, `measured` (our names of both, as
    recorded), `metrics` (metric -> what was compared), `why` (reasons of the
    verdicts), `groups` (whose records stand there) and `notes` on what is
    printed.
  """
  groups: dict[tuple[str, str, str], list[Compared]] = {}
  for one in compared:
    key = (one.cell.row, column(one), one.cell.source)
    groups.setdefault(key, []).append(one)
  return [
    _row(model, defense, same)
    for (model, defense, _), same in groups.items()
    if any(judged(one) for one in same)
  ]


def judged(one: Compared) -> bool:
  """Returns whether a cell's verdict says how the numbers compare."""
  return one.verdict.word not in LEFT_OUT


def metrics(shown: Sequence[dict[str, Any]]) -> dict[str, str]:
  """Returns the metrics of some rows, and what a page calls them."""
  known = dict.fromkeys(metric for row in shown for metric in row["metrics"])
  order = [name for name in NAMES if name in known]
  return {name: NAMES.get(name, name) for name in [*order, *known]}


def counted(compared: Sequence[Compared]) -> list[tuple[str, dict[str, int]]]:
  """Returns the verdicts' counts, and of how many cells of which kind."""
  kinds = ("printed cells of defenses", "of undefended models")
  return [
    (f"{sum(counts.values())} {kind}:", counts)
    for kind, counts in zip(kinds, tally(compared), strict=True)
    if counts
  ]


def column(one: Compared) -> str:
  """Returns a cell's column without its metric."""
  return one.cell.column.rpartition(" ")[0]


def stands(compared: Sequence[Compared]) -> list[tuple[str, str, str]]:
  """Returns (printed defense, label of ours, reason), each once."""
  return list(
    dict.fromkeys(
      (one.cell.defense, one.group[-1], one.reason)
      for one in compared
      if one.group and one.group[-1] != one.cell.defense
    )
  )


def _row(model: str, defense: str, same: list[Compared]) -> dict[str, Any]:
  groups = [one.group for one in same if one.group]
  own = ""
  if groups:
    attack, regime, after = (groups[0][i] for i in (2, 3, -1))
    own = ", ".join(n for n in (attack, regime, after) if n != NONE)
  words = [one.verdict.why for one in same if judged(one)]
  notes = [one.cell.note for one in same if one.cell.note]
  return {
    "model": model,
    "defense": defense,
    "measured": own,
    "metrics": {one.cell.metric: one for one in same},
    "why": list(dict.fromkeys(words)),
    "groups": groups,
    "notes": list(dict.fromkeys(notes)),
  }
