"""From rows per epoch to lines: stages joined, seeds averaged."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from bdjax.report.results import Record

Rows = list[Record]
CLEAN_FIRST = ("adaptive",)  # regimes whose turns begin with a clean one


class Line(NamedTuple):
  """A metric over epochs, with its spread over seeds."""

  epoch: np.ndarray  # [T], 0 = before the defense
  mean: np.ndarray  # [T], a fraction
  sd: np.ndarray | None  # [T], ddof 1; None with one seed


def timeline(rows: Rows) -> dict[int, Record]:
  """Returns one cell's rows by epoch, its stages one after another."""
  stages: dict[str, Rows] = {}
  for row in rows:
    stages.setdefault(row["stage"], []).append(row)
  joined, start = {}, 0
  for stage in stages.values():
    joined |= {start + row["epoch"]: row for row in stage}
    start += max(row["epoch"] for row in stage)
  return joined


def line(
  cells: Iterable[Record], curves: dict[str, Rows], metric: str
) -> Line | None:
  """Averages a metric over cells that differ in seed only.

  Args:
    cells: records of one attack, regime and defense.
    curves: rows of each cell.
    metric: of a row, such as "ca"; it starts at the record's value before the
      defense, if there is one.

  Returns:
    The epochs that every cell probed, or None if no epoch was.
  """
  return _mean(
    [_track(cell, curves.get(cell["cell"], []), metric) for cell in cells]
  )


def planting(
  names: Iterable[str],
  curves: dict[str, Rows],
  metric: str,
  *,
  clean: bool,
  regime: str = "",
) -> Line | None:
  """Averages a metric over models that were planted under different seeds.

  Args:
    names: of the planted models.
    curves: rows of each model.
    metric: of a row, such as "ca".
    clean: after the clean epochs, of regimes that have some; else after all
      other epochs.
    regime: of the models; it decides which turns are the clean ones.

  Returns:
    The epochs that every model has, or None if there is none.
  """
  first = regime.partition("(")[0] in CLEAN_FIRST
  tracks = [
    {
      epoch: row[metric]
      for epoch, row in timeline(curves.get(name, [])).items()
      if row.get(metric) is not None and _is_clean(row, first) == clean
    }
    for name in names
  ]
  return _mean(tracks)


def _is_clean(row: Record, first: bool) -> bool:
  """Returns whether an epoch is in the clean half of its turns, "k/n"."""
  turn, _, turns = row.get("turn", "1/1").partition("/")
  return int(turns) > 1 and (2 * int(turn) > int(turns)) != first


def _mean(tracks: list[dict[int, float]]) -> Line | None:
  shared = sorted(set.intersection(*map(set, tracks))) if tracks else []
  if not any(shared):
    return None
  values = np.array([[track[epoch] for epoch in shared] for track in tracks])
  sd = values.std(axis=0, ddof=1) if len(tracks) > 1 else None
  return Line(np.array(shared), values.mean(axis=0), sd)


def rates(rows: Rows) -> tuple[np.ndarray, np.ndarray] | None:
  """Returns epochs (fractions count) and learning rates of one cell.

  Rates are spread evenly over their epoch, as they may have been thinned.
  """
  steps = [
    (epoch - 1 + (i + 0.5) / len(row["lr"]), rate)
    for epoch, row in sorted(timeline(rows).items())
    for i, rate in enumerate(row.get("lr") or [])
    if rate is not None
  ]
  if not steps:
    return None
  epochs, lr = zip(*steps, strict=True)
  return np.array(epochs), np.array(lr)


def _track(cell: Record, rows: Rows, metric: str) -> dict[int, float]:
  track = {0: cell.get(f"{metric}_before")}
  track |= {epoch: row.get(metric) for epoch, row in timeline(rows).items()}
  return {epoch: value for epoch, value in track.items() if value is not None}
