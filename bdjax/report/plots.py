"""The figures of a report: curves, rates, points, costs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bdjax.report import figures, tables
from bdjax.report.curves import Line
from bdjax.report.results import Record

if TYPE_CHECKING:
  from matplotlib.axes import Axes

BOXED = 5  # values from which on a box says more than they do (chosen)
_COSTS = {"compile": "#999999", "train": "#0072b2", "eval": "#e69f00"}


def curve_panel(
  lines: dict[str, dict[str, Line]],
  looks: dict[str, figures.Style],
  epochs: str = "defense epoch",
) -> str:
  """Draws one attack's ASR (solid) and CA (dashed) over epochs, as an SVG.

  Args:
    lines: defense, say, -> {"asr": its line, "ca": its line}.
    looks: defense -> style.
    epochs: whose, in words.
  """

  def draw(axes: "Axes") -> None:
    for defense, metrics in lines.items():
      for metric, line in metrics.items():
        figures.draw_line(
          axes,
          line,
          looks[defense],
          dashed=metric == "ca",
          words=f"{defense}, {metric.upper()}",
        )
    axes.set(xlabel=epochs, ylabel="percent", ylim=(-4, 104))
    axes.xaxis.get_major_locator().set_params(integer=True)

  return figures.svg(draw, 3.6, 2.4)


def rate_panel(
  epochs: np.ndarray, lr: np.ndarray, limits: tuple[float, float]
) -> str:
  """Draws learning rates over epochs on a log axis; rates of 0 are left out.

  Args:
    epochs: [T] position of each step.
    lr: [T] learning rates.
    limits: lowest and highest rate of the axis, shared by panels.
  """

  def draw(axes: "Axes") -> None:
    axes.plot(
      epochs, np.where(lr > 0, lr, np.nan), color=figures.COLORS[0], lw=0.8
    )
    axes.set(xlabel="epoch", ylabel="learning rate", yscale="log")
    low, high = np.log10(limits)
    axes.set_ylim(10 ** np.floor(low) / 1.6, 10 ** np.ceil(high) * 1.6)
    axes.set_xlim(0, np.ceil(epochs[-1]))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")

  return figures.svg(draw, 3.6, 1.8)


def scatter_panel(
  rows: dict[str, Record],
  looks: dict[str, figures.Style],
  limits: tuple[float, float],
) -> str:
  """Draws one attack's defenses as points, CA against what is left.

  Small dots are the seeds, bars Student's 95 % intervals. What says nothing of
  a defense (`tables.UNJUDGED`) is hollow.

  Args:
    rows: defense -> its row, with both numbers.
    looks: defense -> style.
    limits: lowest and highest CA of the axis, a fraction, shared by panels.
  """

  def draw(axes: "Axes") -> None:
    for defense, row in rows.items():
      _draw_point(axes, row, looks[defense], defense)
    names = " or ".join(sorted({tables.rate(row) for row in rows.values()}))
    axes.set(xlabel="CA, percent", ylabel=f"{names}, percent", ylim=(-4, 104))
    room = 8 * (limits[1] - limits[0]) + 0.5
    axes.set_xlim(100 * limits[0] - room, 100 * limits[1] + room)

  return figures.svg(draw, 3.6, 2.4)


def _draw_point(
  axes: "Axes", row: Record, style: figures.Style, name: str
) -> None:
  x, y = (100 * row[name] for name in ("ca", "left"))
  hollow = tables.verdict(row) in tables.UNJUDGED
  fill = "none" if hollow else style.color
  words = f"{name}: CA {x:.1f}, {tables.rate(row)} {y:.1f}"
  look = {"ms": 6.5, "mec": style.color, "mfc": fill}
  gid = figures.tip(words)
  axes.plot(x, y, style.marker, gid=gid, label=name, **look)
  if len(row["seeds"]) < 2:
    return
  seeds = [100 * np.array(row[f"{name}_values"]) for name in ("ca", "left")]
  axes.plot(*seeds, "o", ms=2.2, color=style.color, alpha=0.7)
  bars = [
    [[100 * (row[n] - row[f"{n}_low"])], [100 * (row[f"{n}_high"] - row[n])]]
    for n in ("ca", "left")
  ]
  line = {"ecolor": style.color, "elinewidth": 0.7, "alpha": 0.7}
  axes.errorbar(x, y, xerr=bars[0], yerr=bars[1], fmt="none", **line)


def cost_figure(seconds: dict[str, dict[str, float]]) -> str:
  """Draws stacked bars of seconds.

  Args:
    seconds: defense -> {"compile", "train", "eval"} -> seconds.
  """
  names = list(seconds)[::-1]  # bars are stacked upwards

  def draw(axes: "Axes") -> None:
    ends = np.zeros(len(names))
    for part, color in _COSTS.items():
      widths = np.array([seconds[name][part] for name in names])
      axes.barh(names, widths, 0.62, ends, color=color, label=part)
      ends = ends + widths
    for i, end in enumerate(ends):
      axes.annotate(
        f"{end:,.1f} s",
        xy=(end, i),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
      )
    axes.set(xlabel="seconds per cell", xlim=(0, 1.15 * max(ends.max(), 1e-9)))
    axes.grid(axis="y", visible=False)
    axes.legend(ncols=3, loc="lower left", bbox_to_anchor=(0, 1), fontsize=8)

  return figures.svg(draw, 4.8, 0.8 + 0.3 * len(names))


def draw_boxes(
  axes: "Axes",
  seconds: dict[str, list[float]],
  dots: Sequence[tuple[str, float]] = (),
) -> None:
  """Draws boxes of seconds on a log axis, or points where they are few.

  A box spans the quartiles, whiskers reach 1.5 times as far at most, and cells
  beyond are points. Fewer than `BOXED` cells have no quartiles worth a box.

  Args:
    axes: where.
    seconds: defense -> seconds of its cells, all above 0.
    dots: (defense, seconds) to mark with a circle.
  """
  names = list(seconds)[::-1]
  ink = axes.xaxis.label.get_color()  # follows the page's scheme
  line = {"color": ink, "linewidth": 0.8}
  places = {name: i for i, name in enumerate(names, 1)}
  point = {"color": _COSTS["train"], "mec": ink, "mew": 0.8, "ms": 5}
  for name, place in places.items():
    values = seconds[name]
    if len(values) < BOXED:
      axes.plot(values, [place] * len(values), "o", **point)
      continue
    axes.boxplot(
      [values],
      positions=[place],
      manage_ticks=False,
      orientation="horizontal",
      widths=0.55,
      patch_artist=True,
      boxprops={"facecolor": _COSTS["train"], "alpha": 0.55, **line},
      medianprops={"color": ink, "linewidth": 1.4},
      whiskerprops=line,
      capprops=line,
      flierprops={"marker": "o", "markersize": 3, "markeredgecolor": ink},
    )
  for name, value in dots:
    style = {"mfc": "none", "mec": figures.COLORS[1], "ms": 8}
    axes.plot([value], [places[name]], "o", **style)
  every = [x for name in names for x in seconds[name]]
  log_axis(axes, every + [value for _, value in dots])
  axes.set(xlabel="seconds of training per cell", ylim=(0.5, len(names) + 0.5))
  axes.set_yticks([*places.values()], names)
  axes.grid(axis="y", visible=False)


def log_axis(axes: "Axes", values: list[float]) -> None:
  """Makes the x axis logarithmic, with labels even within a power of ten."""
  from matplotlib import ticker

  axes.set_xscale("log")
  if max(values) < 10 * min(values):  # where powers of ten may be out of sight
    axes.xaxis.set_major_locator(ticker.AutoLocator())
  axes.xaxis.set_major_formatter("{x:g}")
  axes.xaxis.set_minor_formatter("")
