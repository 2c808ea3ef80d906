"""What was swept: cells by their methods, but for the arguments that vary."""

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from bdjax.methods import specs
from bdjax.report import results
from bdjax.report.judging import NONE

PREFIX = "axis."  # of a record's keys


class Sweep(NamedTuple):
  """One method's settings on one attack."""

  title: tuple[str, str, str]  # attack, regime, defense, but for the axes
  axes: dict[str, list[Any]]  # name -> values, in order
  cells: dict[tuple[Any, ...], list[results.Record]]  # setting -> its seeds
  diverged: Counter[tuple[Any, ...]] = Counter()  # settings without a result


def sweeps(
  records: Iterable[results.Record], diverged: Iterable[results.Record] = ()
) -> list[Sweep]:
  """Returns what was swept, in first-seen order.

  Args:
    records: cells.
    diverged: cells without a result.
  """
  records, diverged = ([*map(_settled, x)] for x in (records, diverged))
  varied = _varied([*records, *diverged])
  groups, lost = (_titled(cells, varied) for cells in (records, diverged))
  sweeps = [
    _sweep(title, groups[title], lost.get(title, [])) for title in groups
  ]
  return [sweep for sweep in sweeps if sweep.axes]


class _Cell(NamedTuple):
  """A cell on the axes of its run."""

  record: results.Record
  axes: dict[str, Any]
  methods: dict[str, specs.Spec]  # "attack" and "defense", or none of them


_Varied = dict[tuple[str, str], set[str]]  # kind, label without axes -> axes


def _settled(record: results.Record) -> _Cell:
  axes = {
    name.removeprefix(PREFIX): value
    for name, value in record.items()
    if name.startswith(PREFIX)
  }
  if not axes or record["defense"] == NONE:
    return _Cell(record, axes, {})
  kinds = ("attack", "defense")
  return _Cell(record, axes, {k: specs.parse(record[k])[0] for k in kinds})


def _varied(cells: Iterable[_Cell]) -> _Varied:
  """Returns which axes each method has several values of."""
  values: dict[tuple[str, str, str], set[str]] = {}
  for cell in cells:
    for kind, spec in cell.methods.items():
      bare = _without(spec, cell.axes)
      for name in spec.args.keys() & cell.axes:
        found = values.setdefault((kind, bare, name), set())
        found.add(json.dumps(spec.args[name]))
  varied: _Varied = {}
  for (kind, bare, name), found in values.items():
    if len(found) > 1:
      varied.setdefault((kind, bare), set()).add(name)
  return varied


def _titled(
  cells: Iterable[_Cell], varied: _Varied
) -> dict[tuple[str, str, str], list[results.Record]]:
  """Returns cells by attack, regime and defense, but for what is swept.

  An axis that both methods have is the defense's: each setting of the attack is
  then an attack of its own.
  """
  groups: dict[tuple[str, str, str], list[results.Record]] = {}
  for cell in cells:
    if not cell.methods:
      continue
    attack, defense = cell.methods["attack"], cell.methods["defense"]
    later = varied.get(("defense", _without(defense, cell.axes)), set())
    first = varied.get(("attack", _without(attack, cell.axes)), set()) - later
    own = {k: attack.args[k] for k in first & attack.args.keys()}
    own |= {k: defense.args[k] for k in later & defense.args.keys()}
    key = (
      _without(attack, first),
      cell.record["regime"],
      _without(defense, later),
    )
    axes = {f"{PREFIX}{name}": value for name, value in own.items()}
    groups.setdefault(key, []).append(cell.record | axes)
  return groups


def _without(method: specs.Spec, axes: Iterable[str]) -> str:
  """Returns a method's label without some of its arguments."""
  rest = {k: v for k, v in method.args.items() if k not in axes}
  return str(method._replace(args=rest))


def _sweep(
  title: tuple[str, str, str],
  records: list[results.Record],
  diverged: list[results.Record],
) -> Sweep:
  every = [*records, *diverged]
  names = sorted({k for r in every for k in r if k.startswith(PREFIX)})
  values = {k: _distinct(r.get(k) for r in every) for k in names}
  axes = {k: v for k, v in values.items() if len(v) > 1}

  def setting(record: results.Record) -> tuple[Any, ...]:
    return tuple(record.get(k) for k in axes)

  cells: dict[tuple[Any, ...], list[results.Record]] = {}
  for record in records:
    cells.setdefault(setting(record), []).append(record)
  bare = {k.removeprefix(PREFIX): v for k, v in axes.items()}
  return Sweep(title, bare, cells, Counter(map(setting, diverged)))


def numeric(values: list[Any]) -> bool:
  """Returns whether all levels of an axis are numbers."""
  return all(
    isinstance(v, int | float) and not isinstance(v, bool) for v in values
  )


def _distinct(values: Iterable[Any]) -> list[Any]:
  levels = list({json.dumps(value): value for value in values}.values())
  return sorted(levels) if numeric(levels) else levels
