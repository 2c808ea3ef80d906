"""Sweeps: lines over one axis, heat maps over two, and the best settings."""

import itertools
import json
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bdjax.methods import specs
from bdjax.report import figures, intervals, judging, results, tables
from bdjax.report.curves import Line
from bdjax.report.judging import NONE

if TYPE_CHECKING:
  from matplotlib.axes import Axes

PREFIX = "axis."  # of a record's keys
SHOWN = ("asr", "ca")
_STYLES = figures.styles(list(SHOWN))
_MOST = 12  # panels of one sweep


class Sweep(NamedTuple):
  """One method's settings on one attack."""

  title: tuple[str, str, str]  # attack, regime, defense, but for the axes
  axes: dict[str, list[Any]]  # name -> values, in order
  cells: dict[tuple[Any, ...], list[results.Record]]  # setting -> its seeds
  diverged: dict[tuple[Any, ...], int] = {}  # setting -> seeds without a result


def sweeps(
  records: Iterable[results.Record], diverged: Iterable[results.Record] = ()
) -> list[Sweep]:
  """Returns what was swept, in first-seen order.

  Args:
    records: cells.
    diverged: cells without a result.
  """
  groups, lost = _titled(records), _titled(diverged)
  sweeps = [
    _sweep(title, groups[title], lost.get(title, [])) for title in groups
  ]
  return [sweep for sweep in sweeps if sweep.axes]


def _titled(
  records: Iterable[results.Record],
) -> dict[tuple[str, str, str], list[results.Record]]:
  groups: dict[tuple[str, str, str], list[results.Record]] = {}
  for record in records:
    axes = {
      name.removeprefix(PREFIX): value
      for name, value in record.items()
      if name.startswith(PREFIX)
    }
    if axes and record["defense"] != NONE:
      attack, defense = (_rest(record[k], axes) for k in ("attack", "defense"))
      key = (attack, record["regime"], defense)
      groups.setdefault(key, []).append(record)
  return groups


def _rest(label: str, axes: dict[str, Any]) -> str:
  """Returns a method's label without those of its arguments that are swept."""
  (spec,) = specs.parse(label)
  rest = {k: v for k, v in spec.args.items() if k not in axes or v != axes[k]}
  return str(spec._replace(args=rest))


def panels(sweep: Sweep) -> list[tuple[str, str]]:
  """Returns (caption, SVG) of a sweep: one figure per metric or heat map.

  One axis makes a line with a band over seeds, two a heat map; further axes,
  and those that are words, make a panel for each of their values.
  """
  numeric = [k for k, v in sweep.axes.items() if _numeric(v)][:2]
  others = [k for k in sweep.axes if k not in numeric]
  pictures = []
  for fixed in itertools.product(*(sweep.axes[k] for k in others)):
    here = dict(zip(others, fixed, strict=True))
    caption = ", ".join(f"{k} = {_word(v)}" for k, v in here.items())
    if len(numeric) == 2:
      pictures += [
        (
          f"{_name(metric, *sweep.cells.values())} {caption}",
          _map(sweep, numeric, here, metric),
        )
        for metric in SHOWN
      ]
    elif numeric:
      pictures.append((caption, _lines(sweep, numeric[0], here)))
  return pictures[:_MOST]


def best(sweep: Sweep, *, count: int = 5) -> list[dict[str, Any]]:
  """Returns the settings with the highest mean DER, or with the least left.

  Returns:
    Rows: `setting` in words, `seeds`, the means of `asr` (or `collapse`, after
    a transfer), `ca` and `der`, and the `verdict`; what is `tables.UNJUDGED`
    comes last.
  """
  return [row for row, _ in _ranked(sweep)[:count]]


def sure(sweep: Sweep) -> str:
  """Returns how sure the order of the two best settings is; "" with one."""
  ranked = _ranked(sweep)
  judged = [p for p in ranked if p[0]["verdict"] not in tables.UNJUDGED]
  if len(judged) < 2:
    return ""
  if len({_rates(cells) for _, cells in ranked}) == 1:
    return "Every setting gave the same rates: what was swept changed nothing"
  (_, first), (_, second) = judged[:2]
  every = (*first, *second)
  unit = _name("asr", every) if any(r["der"] is None for r in every) else "DER"
  one, other = (_by_seed(cells, unit) for cells in (first, second))
  gap = intervals.lead(one, other, f"points of {unit} ahead of the next")
  return gap or "Not sure: it has no two seeds in common with the next"


def _ranked(
  sweep: Sweep,
) -> list[tuple[dict[str, Any], list[results.Record]]]:
  """Returns a row for each setting, and its cells, the best first."""
  pairs = []
  for setting, cells in sweep.cells.items():
    text = _words(sweep, setting)
    means = {m: _mean(cells, m) for m in ("asr", "ca", "der")}
    row = {"setting": text, "seeds": len(cells), **means}
    pairs.append((row | {"verdict": _verdict(cells)}, cells))
  return sorted(pairs, key=lambda pair: _rank(pair[0]))


def _rates(cells: list[results.Record]) -> frozenset[tuple[Any, ...]]:
  return frozenset(
    (cell["seed"], *(_rate(cell, name) for name in SHOWN)) for cell in cells
  )


def _by_seed(cells: list[results.Record], unit: str) -> dict[int, float]:
  """Returns what is best high, a share, by seed."""
  return {
    cell["seed"]: cell["der"] if unit == "DER" else 1 - _rate(cell, "asr")
    for cell in cells
  }


def _verdict(cells: list[results.Record]) -> str:
  """Returns what a setting's cells say together; see `tables.verdict`."""
  (row,) = results.summarize(cells)
  return tables.verdict(row)


def lost(sweep: Sweep) -> list[str]:
  """Returns the settings some of whose seeds diverged, and how many."""
  return [
    f"{_words(sweep, setting)}: {count} of "
    f"{count + len(sweep.cells.get(setting, []))} seeds"
    for setting, count in sweep.diverged.items()
  ]


def _words(sweep: Sweep, setting: tuple[Any, ...]) -> str:
  pairs = zip(sweep.axes, setting, strict=True)
  return ", ".join(f"{k} = {_word(v)}" for k, v in pairs)


def _rank(row: dict[str, Any]) -> tuple[bool, float, float]:
  der = row["der"]
  unjudged = row["verdict"] in tables.UNJUDGED
  return (unjudged, 0.0 if der is None else -der, row["asr"])


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


def _lines(sweep: Sweep, axis: str, fixed: dict[str, Any]) -> str:
  every = [(v, _at(sweep, {axis: v, **fixed})) for v in sweep.axes[axis]]
  values = [value for value, cells in every if cells]
  groups = [cells for _, cells in every if cells]

  def draw(axes: "Axes") -> None:
    for metric in SHOWN:
      _draw_seeds(axes, values, groups, metric)
    for value, cells in zip(values, groups, strict=True):
      if _verdict(cells) in tables.UNJUDGED:
        axes.axvline(value, color="#808080", linestyle=":", linewidth=1.4)
    axes.set(xlabel=axis, ylabel="percent", ylim=(-4, 104))
    if values and min(values) > 0 and max(values) / min(values) > 20:
      axes.set_xscale("log")

  return figures.svg(draw, 3.6, 2.4)


def _draw_seeds(
  axes: "Axes",
  values: list[float],
  groups: list[list[results.Record]],
  metric: str,
) -> None:
  """Draws means as a line, seeds as dots, and Student's 95 % intervals."""
  style = _STYLES[metric]
  spread = [[_rate(cell, metric) for cell in cells] for cells in groups]
  mean = np.array([np.mean(s) for s in spread])
  line = Line(np.array(values, float), mean, None)
  figures.draw_line(axes, line, style, dashed=metric == "ca")
  for value, seeds in zip(values, spread, strict=True):
    ends = intervals.student(seeds, (0.0, 1.0))
    if ends:
      dots = 100 * np.array(seeds)
      axes.plot([value] * len(dots), dots, "o", ms=2.2, color=style.color)
      low, high = (100 * end for end in ends)
      axes.vlines(value, low, high, color=style.color, lw=0.8, alpha=0.6)


def _map(
  sweep: Sweep, names: list[str], fixed: dict[str, Any], metric: str
) -> str:
  rows, columns = (sweep.axes[name] for name in names)

  def draw(axes: "Axes") -> None:
    for i, j in np.ndindex(len(rows), len(columns)):
      cells = _at(sweep, {names[0]: rows[i], names[1]: columns[j], **fixed})
      value = _mean(cells, metric)
      if value is not None:
        ruined = _verdict(cells) in tables.UNJUDGED
        figures.draw_tile(axes, (j, i), value, metric, hatched=ruined)
        axes.text(j, i, f"{100 * value:.1f}", ha="center", va="center")
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5))
    axes.set_xticks(range(len(columns)), [_word(v) for v in columns])
    axes.set_yticks(range(len(rows)), [_word(v) for v in rows])
    axes.set(xlabel=names[1], ylabel=names[0])
    axes.grid(visible=False)

  width, height = 1.4 + 0.6 * len(columns), 1.0 + 0.35 * len(rows)
  return figures.svg(draw, width, height)


def _at(sweep: Sweep, setting: dict[str, Any]) -> list[results.Record]:
  return sweep.cells.get(tuple(setting[name] for name in sweep.axes), [])


def _mean(cells: list[results.Record], metric: str) -> float | None:
  values = [_rate(cell, metric) for cell in cells]
  known = bool(values) and None not in values
  return float(np.mean(values)) if known else None


def _numeric(values: list[Any]) -> bool:
  return all(
    isinstance(v, int | float) and not isinstance(v, bool) for v in values
  )


def _distinct(values: Iterable[Any]) -> list[Any]:
  levels = list({json.dumps(value): value for value in values}.values())
  return sorted(levels) if _numeric(levels) else levels


def _rate(cell: results.Record, metric: str) -> float | None:
  """Returns a cell's metric, of the ASR what stands for it in a transfer."""
  return cell.get(judging.success(cell)) if metric == "asr" else cell[metric]


def _name(metric: str, *groups: Iterable[results.Record]) -> str:
  """Returns what a metric of cells is called."""
  names = {judging.success(cell) for cells in groups for cell in cells}
  moved = metric == "asr" and "asr" not in names
  return "collapse" if moved else metric.upper()


def _word(value: Any) -> str:
  return f"{value:g}" if isinstance(value, float) else str(value)
