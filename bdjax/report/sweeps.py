"""Sweeps: lines over one axis, heat maps over two, and the best settings."""

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from bdjax.report import figures, intervals, judging, results, swept, tables
from bdjax.report.curves import Line
from bdjax.report.swept import Sweep

if TYPE_CHECKING:
  from matplotlib.axes import Axes

SHOWN = ("asr", "ca")
_STYLES = figures.styles(list(SHOWN))
_MOST = 12  # panels of one sweep


def panels(sweep: Sweep) -> list[tuple[str, str]]:
  """Returns (caption, SVG) of a sweep: one figure per metric or heat map.

  One axis makes a line with a band over seeds, two a heat map; further axes,
  and those that are words, make a panel for each of their values.
  """
  numeric = [k for k, v in sweep.axes.items() if swept.numeric(v)][:2]
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
    a transfer), `ca` and `der`, the `verdict`, and how many `diverged`; such
    settings come after whole ones, what is `tables.UNJUDGED` last.
  """
  return [row for row, _ in _ranked(sweep)[:count]]


def rate(sweep: Sweep) -> str:
  """Returns what its success rates are: ASR, or collapse."""
  return _name("asr", *sweep.cells.values())


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
    row |= {"verdict": _verdict(cells), "diverged": sweep.diverged[setting]}
    pairs.append((row, cells))
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


def _rank(row: dict[str, Any]) -> tuple[bool, bool, float, float]:
  der = row["der"]
  unjudged = row["verdict"] in tables.UNJUDGED
  left = 0.0 if der is None else -der
  return unjudged, row["diverged"] > 0, left, row["asr"]


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
