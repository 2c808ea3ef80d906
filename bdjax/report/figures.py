"""Figures as inline SVG, pictures as PNG; matplotlib is imported when drawing.

Ink is `currentColor` and backgrounds are clear, so that figures follow the
page's light or dark scheme. Text stays text and is never read as math. The
colours are those of Okabe and Ito that show on white and on black, with one
marker per defense beside them.
"""

import base64
import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bdjax.report.curves import Line
from bdjax.report.load import NONE

if TYPE_CHECKING:
  from matplotlib.axes import Axes

_INK = "#010203"  # stands for currentColor
_COLORS = (
  *("#0072b2", "#d55e00", "#009e73", "#cc79a7"),
  *("#e69f00", "#56b4e9", "#8c6bb1", "#a6761d"),
)
_MARKERS = "osD^vPX*"
_SHAPES = {  # the same markers for the legend of the page
  **{"o": "●", "s": "■", "D": "◆", "^": "▲"},
  **{"v": "▼", "P": "✚", "X": "✖", "*": "★"},
}
_COSTS = {"compile": "#999999", "train": "#0072b2", "eval": "#e69f00"}
_GREY = 128  # no difference
_RC = {
  "axes.edgecolor": _INK,
  "axes.grid": True,
  "axes.labelcolor": _INK,
  "axes.spines.right": False,
  "axes.spines.top": False,
  "font.family": "sans-serif",
  "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial"],
  "font.size": 8,
  "grid.alpha": 0.3,
  "grid.color": "#808080",
  "grid.linewidth": 0.5,
  "legend.frameon": False,
  "svg.fonttype": "none",
  "svg.hashsalt": "bdjax",
  "text.color": _INK,
  "text.parse_math": False,
  "xtick.color": _INK,
  "ytick.color": _INK,
}


class Style(NamedTuple):
  """How a defense looks in every figure of a page."""

  color: str
  marker: str  # of matplotlib
  shape: str  # the marker as a character


def styles(defenses: list[str]) -> dict[str, Style]:
  """Gives every defense a colour and a marker; "none" is grey."""
  looks = {NONE: Style("#808080", "o", "●")}
  others = [defense for defense in defenses if defense != NONE]
  for i, defense in enumerate(others):
    # A second round shifts the markers: no two of 64 defenses look the same.
    marker = _MARKERS[(i + i // len(_COLORS)) % len(_MARKERS)]
    color = _COLORS[i % len(_COLORS)]
    looks[defense] = Style(color, marker, _SHAPES[marker])
  return looks


def curve_panel(
  lines: dict[str, dict[str, Line]],
  looks: dict[str, Style],
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
        draw_line(axes, line, looks[defense], dashed=metric == "ca")
    axes.set(xlabel=epochs, ylabel="percent", ylim=(-4, 104))
    axes.xaxis.get_major_locator().set_params(integer=True)

  return svg(draw, 3.6, 2.4)


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
    axes.plot(epochs, np.where(lr > 0, lr, np.nan), color=_COLORS[0], lw=0.8)
    axes.set(xlabel="epoch", ylabel="learning rate", yscale="log")
    low, high = np.log10(limits)
    axes.set_ylim(10 ** np.floor(low) / 1.6, 10 ** np.ceil(high) * 1.6)
    axes.set_xlim(0, np.ceil(epochs[-1]))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")

  return svg(draw, 3.6, 1.8)


def scatter_panel(
  points: dict[str, tuple[float, float]],
  looks: dict[str, Style],
  limits: tuple[float, float],
) -> str:
  """Draws one attack's defenses as points, CA against ASR.

  Args:
    points: defense -> (CA, ASR), fractions.
    looks: defense -> style.
    limits: lowest and highest CA of the axis, a fraction, shared by panels.
  """

  def draw(axes: "Axes") -> None:
    for defense, (ca, asr) in points.items():
      style = looks[defense]
      axes.scatter(
        100 * ca, 100 * asr, s=42, color=style.color, marker=style.marker
      )
    axes.set(xlabel="CA, percent", ylabel="ASR, percent", ylim=(-4, 104))
    room = 8 * (limits[1] - limits[0]) + 0.5
    axes.set_xlim(100 * limits[0] - room, 100 * limits[1] + room)

  return svg(draw, 3.6, 2.4)


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

  return svg(draw, 7.4, 0.8 + 0.3 * len(names))


def draw_boxes(
  axes: "Axes",
  seconds: dict[str, list[float]],
  dots: Sequence[tuple[str, float]] = (),
) -> None:
  """Draws boxes of seconds on a log axis.

  A box spans the quartiles, whiskers reach 1.5 times as far at most, and cells
  beyond are points.

  Args:
    axes: where.
    seconds: defense -> seconds of its cells, all above 0.
    dots: (defense, seconds) to mark with a circle.
  """
  names = list(seconds)[::-1]
  ink = axes.xaxis.label.get_color()  # follows the page's scheme
  line = {"color": ink, "linewidth": 0.8}
  axes.boxplot(
    [seconds[name] for name in names],
    orientation="horizontal",
    tick_labels=names,
    widths=0.55,
    patch_artist=True,
    boxprops={"facecolor": _COSTS["train"], "alpha": 0.55, **line},
    medianprops={"color": ink, "linewidth": 1.4},
    whiskerprops=line,
    capprops=line,
    flierprops={"marker": "o", "markersize": 3, "markeredgecolor": ink},
  )
  for name, value in dots:
    style = {"mfc": "none", "mec": _COLORS[1], "ms": 8}
    axes.plot([value], [names.index(name) + 1], "o", **style)
  every = [x for name in names for x in seconds[name]]
  log_axis(axes, every + [value for _, value in dots])
  axes.set(xlabel="seconds of training per cell")
  axes.grid(axis="y", visible=False)


def log_axis(axes: "Axes", values: list[float]) -> None:
  """Makes the x axis logarithmic, with labels even within a power of ten."""
  from matplotlib import ticker

  axes.set_xscale("log")
  if max(values) < 10 * min(values):  # where powers of ten may be out of sight
    axes.xaxis.set_major_locator(ticker.AutoLocator())
  axes.xaxis.set_major_formatter("{x:g}")
  axes.xaxis.set_minor_formatter("")


def png(image: np.ndarray) -> str:
  """Returns an image [H, W, C] uint8, C 1 or 3, as the data URI of a PNG."""
  from matplotlib.image import imsave

  buffer = io.BytesIO()
  imsave(buffer, np.broadcast_to(image, (*image.shape[:2], 3)), format="png")
  return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def difference(
  clean: np.ndarray, triggered: np.ndarray, gain: int = 10
) -> np.ndarray:
  """Returns `gain` times what the trigger adds, as uint8 about mid-grey."""
  change = triggered.astype(np.int32) - clean.astype(np.int32)
  return np.clip(_GREY + gain * change, 0, 255).astype(np.uint8)


def heat(values: np.ndarray) -> np.ndarray:
  """Returns an array [H, W] as a picture [H, W, 3] uint8, dark to light."""
  import matplotlib

  low, high = values.min(), values.max()
  scaled = (values - low) / (high - low or 1.0)
  return (255 * matplotlib.colormaps["magma"](scaled)[..., :3]).astype(np.uint8)


def draw_line(axes: "Axes", line: Line, style: Style, *, dashed: bool) -> None:
  """Draws a line in percent, with its band."""
  mean = 100 * line.mean
  mark = {} if dashed else {"marker": style.marker, "markersize": 3}
  axes.plot(
    line.epoch,
    mean,
    color=style.color,
    linestyle="--" if dashed else "-",
    linewidth=1.1,
    **mark,
  )
  if line.sd is not None:
    low, high = mean - 100 * line.sd, mean + 100 * line.sd
    axes.fill_between(
      line.epoch, low, high, color=style.color, alpha=0.18, linewidth=0
    )


def svg(draw: Callable[["Axes"], None], width: float, height: float) -> str:
  """Returns a drawing of a size in inches as an SVG element."""
  nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
  buffer = _saved(
    draw, width, height, format="svg", transparent=True, metadata=nothing
  )
  text = buffer.getvalue().decode()
  return text[text.index("<svg") :].replace(_INK, "currentColor")


def raster(
  draw: Callable[["Axes"], None], width: float, height: float
) -> bytes:
  """Returns a drawing of a size in inches as a PNG file, on white."""
  return _saved(draw, width, height, format="png", dpi=200).getvalue()


def _saved(
  draw: Callable[["Axes"], None], width: float, height: float, **how: Any
) -> io.BytesIO:
  import matplotlib
  from matplotlib.figure import Figure

  with matplotlib.rc_context(_RC):
    figure = Figure((width, height), layout="constrained")
    draw(figure.add_subplot())
    buffer = io.BytesIO()
    figure.savefig(buffer, **how)
  return buffer
