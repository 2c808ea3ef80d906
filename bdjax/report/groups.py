"""Records of sequela put together by model, and the means of their seeds."""

import statistics
from collections.abc import Iterable, Sequence

from bdjax.report import leftovers, tables
from bdjax.report.leftovers import Beside
from bdjax.report.results import Record


def grouped(
  records: Sequence[Record], table: tables.Table
) -> list[tuple[dict[str, str], list[Record]]]:
  """Returns seeds of one model and sequel, in the order of the table."""
  named = [leftovers.named(record) for record in records]
  models = _order([*leftovers.order(table.defenses), *named])
  used = [(record["attack"], record["regime"]) for record in records]
  labels = [(None, None), *table.attacks, *used]
  attacks, regimes = map(_order, zip(*labels, strict=True))
  groups: dict[tuple, list[Record]] = {}
  for record, model in zip(records, named, strict=True):
    keys = (record["attack"], record["regime"], record["sequel"])
    groups.setdefault((*keys, model), []).append(record)

  def rank(key):
    return key[2], attacks[key[0]], regimes[key[1]], models[key[3]]

  return [
    (
      {
        "attack": key[0] or "–",
        "regime": key[1] or "–",
        "sequel": key[2],
        "model": key[3],
      },
      groups[key],
    )
    for key in sorted(groups, key=rank)
  ]


def _order(names: Iterable[str | None]) -> dict[str | None, int]:
  """Returns the place of each name among the distinct ones."""
  return {name: place for place, name in enumerate(dict.fromkeys(names))}


def percent(cells: list[Record], name: str) -> str:
  """Returns the mean ± sd over seeds of a recorded fraction, in percent."""
  return _spread([cell.get(name) for cell in cells])


def gain(cells: list[Record], beside: Beside, name: str) -> str:
  """Returns the mean ± sd of what a number is above the clean models'."""
  return _spread([beside.gain(cell, name) for cell in cells])


def _spread(values: list[float | None]) -> str:
  if None in values:
    return "–"
  sd = statistics.stdev(values) if len(values) > 1 else None
  return tables.percent({"x": statistics.fmean(values), "x_sd": sd}, "x")


def mean(cells: list[Record], name: str) -> float:
  """Returns the mean over seeds of a recorded number."""
  return statistics.fmean(cell[name] for cell in cells)
