"""Sweeps: lines over one axis, heat maps over two, and the best settings."""

import itertools
import json
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bdjax.report import figures, results
from bdjax.report.curves import Line
from bdjax.report.load import NONE

if TYPE_CHECKING:
  from matplotlib.axes import Axes

PREFIX = "axis."  # of a record's keys
SHOWN = ("asr", "ca")
_STYLES = figures.styles(list(SHOWN))
_MOST = 12  # panels of one sweep


class Sweep(NamedTuple):
  """One method's settings on one attack."""

  title: tuple[str, str, str]  # attack, regime, defense
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
    axes = [k for k in record if k.startswith(PREFIX)]
    if axes and record["defense"] != NONE:
      title = (_bare(record["attack"]), record["regime"])
      key = (*title, _bare(record["defense"]))
      groups.setdefault(key, []).append(record)
  return groups


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
        (f"{metric.upper()} {caption}", _map(sweep, numeric, here, metric))
        for metric in SHOWN
      ]
    elif numeric:
      pictures.append((caption, _lines(sweep, numeric[0], here)))
  return pictures[:_MOST]


def best(sweep: Sweep, *, count: int = 5) -> list[dict[str, Any]]:
  """Returns the settings with the highest mean DER, or lowest ASR, in percent.

  Returns:
    Rows: `setting` in words, `seeds`, and the means of `asr`, `ca` and `der`.
  """
  rows = []
  for setting, cells in sweep.cells.items():
    text = _words(sweep, setting)
    means = {m: _mean(cells, m) for m in ("asr", "ca", "der")}
    rows.append({"setting": text, "seeds": len(cells), **means})
  return sorted(rows, key=_rank)[:count]


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


def _rank(row: dict[str, Any]) -> tuple[float, float]:
  der = row["der"]
  return (0.0 if der is None else -der, row["asr"])


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
      spread = [[cell[metric] for cell in cells] for cells in groups]
      mean = np.array([np.mean(s) for s in spread])
      several = min(map(len, spread), default=0) > 1
      sd = np.array([np.std(s, ddof=1) for s in spread]) if several else None
      line = Line(np.array(values, float), mean, sd)
      figures.draw_line(axes, line, _STYLES[metric], dashed=metric == "ca")
    axes.set(xlabel=axis, ylabel="percent", ylim=(-4, 104))
    if values and min(values) > 0 and max(values) / min(values) > 20:
      axes.set_xscale("log")

  return figures.svg(draw, 3.6, 2.4)


def _map(
  sweep: Sweep, names: list[str], fixed: dict[str, Any], metric: str
) -> str:
  rows, columns = (sweep.axes[name] for name in names)
  values = np.array(
    [
      [
        _percent(_mean(_at(sweep, {names[0]: r, names[1]: c, **fixed}), metric))
        for c in columns
      ]
      for r in rows
    ]
  )

  def draw(axes: "Axes") -> None:
    axes.imshow(values, cmap="viridis", vmin=0, vmax=100, aspect="auto")
    for (i, j), value in np.ndenumerate(values):
      if np.isfinite(value):
        color = "white" if value < 60 else "black"
        axes.text(j, i, f"{value:.1f}", ha="center", va="center", color=color)
    axes.set_xticks(range(len(columns)), [_word(v) for v in columns])
    axes.set_yticks(range(len(rows)), [_word(v) for v in rows])
    axes.set(xlabel=names[1], ylabel=names[0])
    axes.grid(visible=False)

  width, height = 1.4 + 0.6 * len(columns), 1.0 + 0.35 * len(rows)
  return figures.svg(draw, width, height)


def _at(sweep: Sweep, setting: dict[str, Any]) -> list[results.Record]:
  return sweep.cells.get(tuple(setting[name] for name in sweep.axes), [])


def _mean(cells: list[results.Record], metric: str) -> float | None:
  values = [cell[metric] for cell in cells]
  known = bool(values) and None not in values
  return float(np.mean(values)) if known else None


def _percent(value: float | None) -> float:
  return np.nan if value is None else 100 * value


def _numeric(values: list[Any]) -> bool:
  return all(
    isinstance(v, int | float) and not isinstance(v, bool) for v in values
  )


def _distinct(values: Iterable[Any]) -> list[Any]:
  levels = list({json.dumps(value): value for value in values}.values())
  return sorted(levels) if _numeric(levels) else levels


def _bare(label: str) -> str:
  return label.partition("(")[0]


def _word(value: Any) -> str:
  return f"{value:g}" if isinstance(value, float) else str(value)
