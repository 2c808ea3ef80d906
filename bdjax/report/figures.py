"""Figures as inline SVG; matplotlib is imported when drawing.

Ink is `currentColor` and backgrounds are clear, so that figures follow the
page's light or dark scheme. Text stays text and is never read as math. The
colours are those of Okabe and Ito that show on white and on black, with one
marker per defense beside them.
"""

import html
import io
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from bdjax.report.curves import Line
from bdjax.report.judging import NONE

if TYPE_CHECKING:
  from matplotlib.axes import Axes
  from matplotlib.figure import Figure

_TIP = "tip: "  # begins the gid of what has words
_INK = "#010203"  # stands for currentColor
COLORS = (
  *("#0072b2", "#d55e00", "#009e73", "#cc79a7"),
  *("#e69f00", "#56b4e9", "#8c6bb1", "#a6761d"),
)
_MARKERS = "osD^vPX*"
_SHAPES = {  # the same markers for the legend of the page
  **{"o": "●", "s": "■", "D": "◆", "^": "▲"},
  **{"v": "▼", "P": "✚", "X": "✖", "*": "★"},
}
_HUES = {"asr": "#d55e00", "ca": "#0072b2"}  # the tint of the style sheet
_FULL = 0.62  # how much of it, at 100 %
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


class Drawn(str):
  """A figure as an SVG element, which can be drawn again.

  Attributes:
    draw: draws it.
    width: in inches.
    height: in inches.
  """

  __slots__ = ("draw", "height", "width")

  def __new__(cls, text: str, *how: Any) -> "Drawn":
    """Takes the element, and what draws it at which size."""
    self = super().__new__(cls, text)
    self.draw, self.width, self.height = how
    return self


def styles(defenses: list[str]) -> dict[str, Style]:
  """Gives every defense a colour and a marker; "none" is grey."""
  looks = {NONE: Style("#808080", "o", "●")}
  others = [defense for defense in defenses if defense != NONE]
  for i, defense in enumerate(others):
    # A second round shifts the markers: no two of 64 defenses look the same.
    marker = _MARKERS[(i + i // len(COLORS)) % len(_MARKERS)]
    color = COLORS[i % len(COLORS)]
    looks[defense] = Style(color, marker, _SHAPES[marker])
  return looks


def draw_tile(
  axes: "Axes",
  place: tuple[float, float],
  share: float,
  metric: str,
  *,
  hatched: bool = False,
) -> None:
  """Draws a cell of a heat map in the colours that all pages share.

  Ink over a clear ground, so that it is the same in light and in dark.

  Args:
    axes: where.
    place: x and y of its centre; it is .96 wide and high.
    share: what the colour says, in [0, 1].
    metric: "asr" or "ca"; each has its own hue, since one is better low and the
      other high.
    hatched: of a model that says nothing of a defense; it gets no colour.
  """
  from matplotlib.patches import Rectangle

  corner = (place[0] - 0.48, place[1] - 0.48)
  style = {"facecolor": _HUES[metric], "alpha": _FULL * share}
  if hatched:
    style = {"fill": False, "hatch": "///", "edgecolor": "#80808080"}
  axes.add_patch(Rectangle(corner, 0.96, 0.96, linewidth=0, **style))


def tip(words: str) -> str:
  """Returns the gid of an artist whose words `svg` shows under a pointer."""
  return f"{_TIP}{words}"


def draw_line(
  axes: "Axes", line: Line, style: Style, *, dashed: bool, words: str = ""
) -> None:
  """Draws a line in percent, with its band; words are what it says it is."""
  mean = 100 * line.mean
  mark = {} if dashed else {"marker": style.marker, "markersize": 3}
  axes.plot(
    line.epoch,
    mean,
    color=style.color,
    linestyle="--" if dashed else "-",
    linewidth=1.1,
    gid=tip(words) if words else None,
    label=words,
    **mark,
  )
  if line.sd is not None:
    low, high = mean - 100 * line.sd, mean + 100 * line.sd
    axes.fill_between(
      line.epoch, low, high, color=style.color, alpha=0.18, linewidth=0
    )


def svg(draw: Callable[["Axes"], None], width: float, height: float) -> Drawn:
  """Returns a drawing of a size in inches as an SVG element."""
  nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
  buffer = _saved(
    draw, width, height, format="svg", transparent=True, metadata=nothing
  )
  text = buffer.getvalue().decode()
  text = text[text.index("<svg") :].replace(_INK, "currentColor")
  text = re.sub(rf'<g id="{_TIP}([^"]*)">', r"<g><title>\1</title>", text)
  text = re.sub(r'<g id="[^"]*"', "<g", text)  # a page has several of each
  return Drawn(text, draw, width, height)


def named(picture: str, words: str) -> str:
  """Returns an SVG element with a name for those who do not see it."""
  label = html.escape(" ".join(words.split()))
  return picture.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def raster(
  draw: Callable[["Axes"], None], width: float, height: float
) -> bytes:
  """Returns a drawing of a size in inches as a PNG file, on white."""
  return _saved(draw, width, height, format="png", dpi=200).getvalue()


def pages(file: BinaryIO, figures: Iterable[tuple[str, Drawn]]) -> None:
  """Writes figures into a PDF file, each on a page of its own size.

  Above it stand its words, and beside it the legend that a page of a report has
  in its text.

  Args:
    file: to write to.
    figures: words and figure.
  """
  import matplotlib
  from matplotlib.backends.backend_pdf import PdfPages

  style = _RC | {"pdf.fonttype": 42}
  with matplotlib.rc_context(style), PdfPages(file) as pdf:
    for words, drawn in figures:
      figure = _figure(drawn.draw, drawn.width, drawn.height)
      figure.suptitle(words, x=0.01, ha="left", fontsize=7)
      _add_legend(figure)
      pdf.savefig(figure)


def _add_legend(figure: "Figure") -> None:
  """Puts a legend beside axes with labels that have none."""
  (axes,) = figure.axes
  handles, labels = axes.get_legend_handles_labels()
  if labels and axes.get_legend() is None:
    inches = 0.5 + 0.06 * max(map(len, labels))
    width, height = figure.get_size_inches()
    figure.set_size_inches(width + inches, max(height, 0.16 * len(labels)))
    figure.legend(handles, labels, loc="outside right upper", fontsize=7)


def _saved(
  draw: Callable[["Axes"], None], width: float, height: float, **how: Any
) -> io.BytesIO:
  import matplotlib

  with matplotlib.rc_context(_RC):
    buffer = io.BytesIO()
    _figure(draw, width, height).savefig(buffer, **how)
  return buffer


def _figure(
  draw: Callable[["Axes"], None], width: float, height: float
) -> "Figure":
  from matplotlib.figure import Figure

  figure = Figure((width, height), layout="constrained")
  draw(figure.add_subplot())
  return figure
