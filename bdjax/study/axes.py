"""Figures over a defense's setting, and over the steps of training.

Such as the size of the clean set (Sha et al., Figure 13), LR MAX1 (Figure 15)
or the length of a cycle; and the learning rates that a run has recorded.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bdjax.report import figures, results
from bdjax.report.curves import rates
from bdjax.report.judging import NONE
from bdjax.study import drawing, labels, match, measured
from bdjax.study.comparison import Compared
from bdjax.study.drawing import Drawing
from bdjax.study.match import Evidence
from bdjax.study.measured import Reading

if TYPE_CHECKING:
  from matplotlib.axes import Axes

DASH = {"asr": "-", "ca": "--"}
METRICS = tuple(DASH)
BEFORE = "#8a8a8a"
Points = dict[Any, dict[str, list[tuple[float, Reading]]]]  # line, metric


def over(
  evidence: Evidence, compared: Sequence[Compared], setting: str, by: str = ""
) -> list[Drawing]:
  """Returns ASR (solid) and CA (dashed) over a setting, for each model.

  Gray lines show both as they were before any defense.

  Args:
    evidence: what was measured.
    compared: printed cells, drawn hollow.
    setting: an argument of defenses.
    by: another, with a line for each of its values; "" has one for each method.
  """
  drawings = []
  for panel, groups in drawing.panels(evidence).items():
    points = _points(evidence, groups, setting, by)
    if points:
      dots = _dots(evidence, compared, groups, setting, by)
      start = _before(evidence, groups.get(NONE))
      struck = _struck(evidence, groups, setting, by)
      draw = _lines(points, start, dots, struck, setting, by)
      drawings.append(drawing.panel_of(f"by-{setting}", panel, draw))
  return drawings


def schedules(evidence: Evidence) -> list[Drawing]:
  """Returns the first learning rates found of every regime and defense."""
  curves: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]] = {}
  for record in evidence.run.records:
    pairs = [(("planting", record["regime"]), record["planted"])]
    if record["defense"] != NONE:
      pairs.append((("defense", record["defense"]), record["cell"]))
    for name, cell in pairs:
      rows = evidence.run.curves.get(cell, [])
      if name not in curves and (drawn := rates(rows)) is not None:
        curves[name] = drawn
  return [
    Drawing(f"rate_{drawing.plain(words)}", words, _rate(epochs, lr), 3.6, 1.8)
    for name, (epochs, lr) in curves.items()
    if (words := ": ".join(name)) and (lr > 0).any()
  ]


def _points(
  evidence: Evidence,
  groups: dict[str, match.Group],
  setting: str,
  by: str,
) -> Points:
  points: Points = {}
  for label, key in groups.items():
    records = evidence.groups[key]
    place = _place(label, records[0], setting, by)
    if place is None:
      continue
    for metric in METRICS:
      cell = drawing.of(evidence, label, metric)
      reading = measured.read(records, cell, evidence.run)
      if reading is not None:
        lines = points.setdefault(place[1], {})
        lines.setdefault(metric, []).append((place[0], reading))
  return points


def _before(evidence: Evidence, key: match.Group | None) -> dict[str, float]:
  """Returns the undefended model's mean percents, by metric."""
  if key is None:
    return {}
  readings = {
    metric: measured.read(
      evidence.groups[key], drawing.of(evidence, NONE, metric), evidence.run
    )
    for metric in METRICS
  }
  return {metric: r.mean for metric, r in readings.items() if r is not None}


def _dots(
  evidence: Evidence,
  compared: Sequence[Compared],
  groups: dict[str, match.Group],
  setting: str,
  by: str,
) -> list[tuple[Any, float, float, str]]:
  """Returns (line, x, percent, metric) of the printed cells of a panel."""
  dots = []
  for label, cell in drawing.printed(compared, groups, METRICS):
    record = evidence.groups[groups[label]][0]
    place = _place(label, record, setting, by)
    if place is not None:
      dots.append((place[1], place[0], cell.value, cell.metric))
  return dots


def _struck(
  evidence: Evidence, groups: dict[str, match.Group], setting: str, by: str
) -> list[tuple[float, float]]:
  """Returns (x, percent) of the success rates that say nothing."""
  found = {
    label: key
    for label, key in groups.items()
    if drawing.unjudged(evidence.groups[key])
  }
  points = _points(evidence, found, setting, by)
  return [
    (x, reading.mean)
    for line in points.values()
    for x, reading in line.get("asr", [])
  ]


def _place(
  label: str, record: results.Record, setting: str, by: str
) -> tuple[float, Any] | None:
  spec = labels.spec(label)
  if spec is None or label == NONE:
    return None
  known = labels.settings(spec, record)
  value = known.get(setting)
  if not isinstance(value, int | float):
    return None
  return float(value), known.get(by) if by else spec.name


def _lines(
  points: Points,
  start: dict[str, float],
  dots: list[tuple[Any, float, float, str]],
  struck: list[tuple[float, float]],
  setting: str,
  by: str,
) -> Callable[["Axes"], None]:
  names = sorted(points, key=str)
  styles = figures.styles([str(name) for name in names])

  def draw(axes):
    for metric, percent in start.items():
      axes.axhline(percent, color=BEFORE, linestyle=DASH[metric], lw=0.9)
    for name in names:
      style = styles[str(name)]
      for metric, pairs in points[name].items():
        _line(axes, sorted(pairs), style, metric, f"{by} {name}".strip())
    for name, x, y, metric in dots:
      drawing.hollow(axes, x, y, styles[str(name)], metric.upper())
    for x, y in struck:
      drawing.crossed(axes, x, y)
    pairs = [
      pair for both in points.values() for pair in sum(both.values(), [])
    ]
    xs = sorted({x for x, _ in pairs})
    if xs[0] > 0 and xs[-1] / xs[0] > 5:
      axes.set_xscale("log")
      axes.minorticks_off()
    axes.set_xticks(xs, [f"{x:g}" for x in xs])
    axes.set(xlabel=setting, ylabel="percent", ylim=(-6, 106))
    if by or len(names) > 1:
      axes.legend(fontsize=6.5, loc="center left", bbox_to_anchor=(1, 0.5))

  return draw


def _line(axes, pairs, style, metric, word) -> None:
  xs, readings = zip(*pairs, strict=True)
  axes.errorbar(
    xs,
    [r.mean for r in readings],
    yerr=drawing.bars(readings),
    color=style.color,
    marker=style.marker,
    linestyle=DASH[metric],
    markersize=3.5,
    linewidth=1.1,
    elinewidth=0.7,
    label=word if word and metric == "asr" else None,
  )


def _rate(epochs: np.ndarray, lr: np.ndarray) -> Callable[["Axes"], None]:
  def draw(axes):
    axes.plot(epochs, np.where(lr > 0, lr, np.nan), color="#0072b2", lw=0.8)
    axes.set(xlabel="epoch", ylabel="learning rate", yscale="log")
    axes.set_xlim(0, np.ceil(epochs[-1]))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")

  return draw
