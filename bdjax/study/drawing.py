"""A study's figures of the paper's own kind: ours filled, printed ones hollow.

Every figure is drawn from the records; a printed point is a hollow marker, or,
in a heat map, a number in brackets. Panels are those of the report.
"""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from bdjax.report import figures, plots, results, tables
from bdjax.report.curves import line
from bdjax.report.judging import NONE
from bdjax.study import match, measured
from bdjax.study.comparison import Compared
from bdjax.study.match import Evidence
from bdjax.study.measured import Reading
from bdjax.study.published import Cell

if TYPE_CHECKING:
  from matplotlib.axes import Axes

Panel = tuple[str, str, str]  # dataset, attack, regime: as recorded
HOUR = 3600


class Drawing(NamedTuple):
  """A figure that is drawn when it is needed, as often as it is."""

  name: str
  caption: str
  draw: Callable[["Axes"], None]
  width: float
  height: float

  def svg(self) -> str:
    """Returns the figure as an SVG element."""
    return figures.svg(self.draw, self.width, self.height)


def looks(evidence: Evidence) -> dict[str, figures.Style]:
  """Returns a style for each defense that was measured."""
  labels = dict.fromkeys(key[-1] for key in evidence.groups)
  return figures.styles(sorted(labels, key=lambda name: name != NONE))


def panels(evidence: Evidence) -> dict[Panel, dict[str, match.Group]]:
  """Returns the groups of each model, by defense."""
  by_panel: dict[Panel, dict[str, match.Group]] = {}
  for key in evidence.groups:
    row = dict(zip(results.GROUP, key, strict=True))
    panel = (row["dataset"], row["attack"], row["regime"])
    by_panel.setdefault(panel, {})[row["defense"]] = key
  return by_panel


def curves(evidence: Evidence, compared: Sequence[Compared]) -> list[Drawing]:
  """Returns ASR (solid) and CA (dashed) by epoch, for each model."""
  styles, drawings = looks(evidence), []
  for panel, groups in panels(evidence).items():
    lines = {}
    for defense, key in groups.items():
      records = evidence.groups[key]
      solid = measured.key(of(evidence, defense), records[0])
      both = {
        name: line(records, evidence.run.curves, metric)
        for name, metric in (("asr", solid), ("ca", "ca"))
      }
      lines[defense] = {k: v for k, v in both.items() if v is not None}
    lines = {defense: both for defense, both in lines.items() if both}
    if lines:
      dots = printed(compared, groups, ("asr", "ca"))
      draw = _curves(lines, styles, dots)
      drawings.append(panel_of("curves", panel, draw))
  return drawings


def scatter(evidence: Evidence, compared: Sequence[Compared]) -> list[Drawing]:
  """Returns CA against ASR of every defense, for each model."""
  styles = looks(evidence)
  return [
    panel_of(
      "scatter",
      panel,
      _scatter(
        {d: _pair(evidence, d, key) for d, key in groups.items()},
        {d for d, key in groups.items() if unjudged(evidence.groups[key])},
        styles,
        printed(compared, groups, ("asr", "ca")),
      ),
    )
    for panel, groups in panels(evidence).items()
  ]


def costs(evidence: Evidence, compared: Sequence[Compared]) -> list[Drawing]:
  """Returns seconds of training by defense, over all cells, on a log axis."""
  seconds: dict[str, list[float]] = {}
  for key, records in evidence.groups.items():
    spent = [r["seconds_train"] for r in records if r["seconds_train"]]
    if key[-1] != NONE and spent:
      seconds.setdefault(key[-1], []).extend(spent)
  if not seconds:
    return []
  dots = [
    (one.group[-1], HOUR * one.cell.value)
    for one in compared
    if one.cell.metric == "gpu_hours" and one.group and one.cell.value
  ]
  dots = [dot for dot in dots if dot[0] in seconds]
  height = 0.9 + 0.32 * len(seconds)
  caption = "Seconds of training of all cells; hollow: the paper's"
  draw = functools.partial(plots.draw_boxes, seconds=seconds, dots=dots)
  return [Drawing("costs", caption, draw, 4.8, height)]


def of(evidence: Evidence, defense: str, metric: str = "asr") -> Cell:
  """Returns the cell whose key tells where a record holds a metric."""
  return Cell(evidence.study, "", "", (), "", "", defense, metric)


def _pair(
  evidence: Evidence, defense: str, key: match.Group
) -> tuple[Reading | None, Reading | None]:
  records, run = evidence.groups[key], evidence.run
  ca, asr = (
    measured.read(records, of(evidence, defense, metric), run)
    for metric in ("ca", "asr")
  )
  return ca, asr


def unjudged(records: list[results.Record]) -> bool:
  """Returns whether a group says nothing of its defense."""
  rows = results.summarize(records)
  return any(tables.verdict(row) in tables.UNJUDGED for row in rows)


def crossed(axes: "Axes", x: float, y: float) -> None:
  """Strikes through a point that says nothing of its defense."""
  ink = axes.xaxis.label.get_color()  # follows the page's scheme
  axes.plot([x], [y], "x", color=ink, ms=9, mew=1.2, zorder=5)


def printed(
  compared: Sequence[Compared],
  groups: dict[str, match.Group],
  metrics: tuple[str, ...],
) -> list[tuple[str, Cell]]:
  """Returns the printed cells that a panel's groups stand for."""
  here = set(groups.values())
  return [
    (one.group[-1], one.cell)
    for one in compared
    if one.group in here
    and one.cell.metric in metrics
    and one.cell.value is not None
    and one.cell.regime != "clean"
  ]


def panel_of(
  kind: str, panel: Panel, draw: Callable[["Axes"], None]
) -> Drawing:
  """Returns the drawing of one model's panel."""
  dataset, attack, regime = panel
  caption = f"{attack}, {regime}, {dataset}"
  return Drawing(f"{kind}_{plain('_'.join(panel))}", caption, draw, 3.6, 2.4)


def plain(text: str) -> str:
  """Returns a text that may be part of a file's name."""
  return "".join(c if c.isalnum() or c == "_" else "-" for c in text)


def hollow(
  axes: "Axes", x: float, y: float, style: figures.Style, word: str
) -> None:
  """Draws a printed point, in axes' units, with a word beside it."""
  axes.plot(
    [x], [y], style.marker, mfc="none", mec=style.color, ms=7, mew=1.3, zorder=5
  )
  axes.annotate(
    word,
    (x, y),
    xytext=(6 if x == 0 else -6, 0),
    textcoords="offset points",
    ha="left" if x == 0 else "right",
    va="center",
    fontsize=6,
  )


def bars(readings: Sequence[Reading]) -> list[list[float]]:
  """Returns lengths of error bars down and up, none for one seed."""
  known = [reading.how != measured.POINT for reading in readings]
  pairs = list(zip(readings, known, strict=True))
  return [
    [r.mean - r.low if k else 0.0 for r, k in pairs],
    [r.high - r.mean if k else 0.0 for r, k in pairs],
  ]


def _curves(lines, styles, dots) -> Callable[["Axes"], None]:
  def draw(axes):
    last = 1
    for defense, both in lines.items():
      for metric, drawn in both.items():
        dashed = metric == "ca"
        figures.draw_line(axes, drawn, styles[defense], dashed=dashed)
        last = max(last, int(drawn.epoch[-1]))
    for defense, cell in dots:
      end = 0 if defense == NONE else last
      epoch = end if cell.epoch is None else cell.epoch
      word = cell.metric.upper()
      hollow(axes, min(epoch, last), cell.value, styles[defense], word)
    axes.set(xlabel="defense epoch", ylabel="percent", ylim=(-6, 106))
    axes.xaxis.get_major_locator().set_params(integer=True)

  return draw


def _scatter(points, struck, styles, dots) -> Callable[["Axes"], None]:
  ends: dict[str, dict[str, float]] = {}
  for defense, cell in dots:
    if cell.epoch is None:
      ends.setdefault(defense, {})[cell.metric] = cell.value

  def draw(axes):
    for defense, (ca, asr) in points.items():
      if ca and asr:
        style = styles[defense]
        axes.errorbar(
          ca.mean,
          asr.mean,
          xerr=bars([ca]),
          yerr=bars([asr]),
          color=style.color,
          marker=style.marker,
          markersize=6,
          elinewidth=0.7,
        )
        if defense in struck:
          crossed(axes, ca.mean, asr.mean)
    axes.set(xlabel="CA, percent", ylabel="ASR, percent", ylim=(-6, 106))
    for defense, both in ends.items():
      if both.keys() == {"ca", "asr"}:
        hollow(axes, both["ca"], both["asr"], styles[defense], "")
      elif "asr" in both:  # its CA is not printed: at the edge
        axes.plot(
          [0.985],
          [both["asr"]],
          styles[defense].marker,
          mfc="none",
          mec=styles[defense].color,
          ms=7,
          transform=axes.get_yaxis_transform(),
        )

  return draw
