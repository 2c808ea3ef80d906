"""The pictures of "Why": what an analysis saw of models, drawn from numbers.

The backdoor is vermilion and solid, what is clean blue and dashed.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bdjax.report import figures

if TYPE_CHECKING:
  from matplotlib.axes import Axes

BACKDOOR, CLEAN, PLANTED = "#d55e00", "#0072b2", "#808080"
LEVELS = 24  # of colour in a surface
MANY = 10  # classes that have a colour of their own, at most
HALF = 0.5  # ASR of the line that is drawn in a surface
LOWEST = 1e-3  # loss that a surface tells from none
Numbers = dict[str, Any]
_LINES = (
  ("asr", "ca", 100, "percent", ("ASR", "CA")),
  ("backdoor_loss", "clean_loss", 1, "loss", ("backdoor", "clean")),
)


class Panel(NamedTuple):
  """A picture that is drawn when it is needed, as often as it is."""

  name: str  # of its file, behind that of the part
  caption: str
  alt: str  # what it shows, for who does not see it
  draw: Callable[["Axes"], None]
  width: float = 3.6  # inches
  height: float = 2.4

  def svg(self) -> figures.Drawn:
    """Returns it as an SVG element."""
    return figures.svg(self.draw, self.width, self.height)

  def png(self) -> bytes:
    """Returns it as a PNG file, on white."""
    return figures.raster(self.draw, self.width, self.height)


def array(values: Sequence) -> np.ndarray:
  """Returns numbers as JSON has them, null as NaN."""
  return np.array(values, dtype=float)


def draw_tac(axes: "Axes", before: np.ndarray, after: np.ndarray) -> None:
  """Draws TAC of channels [C], in the order of what the planted model has."""
  order, rank = np.argsort(-before), np.arange(1, len(before) + 1)
  style = {"color": PLANTED, "alpha": 0.5, "linewidth": 0}
  axes.fill_between(rank, before[order], step="mid", label="planted", **style)
  axes.plot(rank, after[order], ".", color=CLEAN, ms=3, label="repaired")
  axes.set(xlabel="channel, by TAC when planted", ylabel="TAC")
  axes.set(xlim=(0, len(before) + 1), ylim=(0, None))
  axes.legend(loc="upper right")


def draw_line(axes: "Axes", numbers: Numbers, which: int) -> None:
  """Draws rates (0) or losses (1) on the way between two models."""
  backdoor, clean, scale, label, names = _LINES[which]
  share = array(numbers["share"])
  looks = ((BACKDOOR, "-", "o"), (CLEAN, "--", "s"))
  for name, words, (color, line, mark) in zip(
    (backdoor, clean), names, looks, strict=True
  ):
    values = scale * array(numbers[name])
    style = {"color": color, "linestyle": line, "marker": mark}
    axes.plot(share, values, ms=3, linewidth=1.1, label=words, **style)
  axes.set(xlabel="way from planted (0) to repaired (1)", ylabel=label)
  axes.set_ylim((-4, 104) if scale == 100 else (0, None))
  axes.legend(loc="best")


def draw_surface(axes: "Axes", numbers: Numbers, name: str) -> None:
  """Draws a loss by colour, and where the ASR is half."""
  from matplotlib import colors, patheffects, ticker

  steps, loss = array(numbers["steps"]), array(numbers[name])
  loss = np.maximum(np.where(np.isfinite(loss), loss, np.nan), LOWEST)
  low, high = np.nanmin(loss), max(np.nanmax(loss), 1.01 * np.nanmin(loss))
  drawn = axes.contourf(
    *(steps, steps, np.ma.masked_invalid(loss)),
    levels=np.geomspace(low, high, LEVELS + 1),
    norm=colors.LogNorm(low, high),
    cmap="viridis",
  )
  drawn.set_edgecolor("face")  # or else seams show between the levels
  asr = np.ma.masked_invalid(array(numbers["asr"]))
  edge = [patheffects.withStroke(linewidth=2.4, foreground="black")]
  if asr.min() < HALF < asr.max():
    lines = axes.contour(steps, steps, asr, levels=[HALF], colors="white")
    lines.set(linewidth=1.2, path_effects=edge)
  axes.plot(0, 0, "P", color="white", mec="black", mew=0.7, ms=7)
  bar = axes.figure.colorbar(drawn, ax=axes, label="loss")
  ends = (low, np.sqrt(low * high), high)
  bar.set_ticks([float(x) for x in ends], labels=[f"{x:.2g}" for x in ends])
  bar.ax.yaxis.set_minor_locator(ticker.NullLocator())
  axes.set(xlabel="first direction", ylabel="second direction", box_aspect=1)
  axes.grid(visible=False)


def draw_features(axes: "Axes", numbers: Numbers) -> None:
  """Draws clean images as dots of their class, triggered ones as crosses."""
  clean, hit = array(numbers["clean"]), array(numbers["hit"])
  label, names = np.array(numbers["label"]), numbers["classes"]
  wanted = set(numbers["wanted"])
  for i, words, color in _looks(sorted(set(label.tolist())), names, wanted):
    dots = clean[np.isin(label, i)]
    axes.plot(*dots.T, ".", color=color, ms=3, mew=0, label=words)
  ink = axes.xaxis.label.get_color()  # follows the page's scheme
  style = {"color": ink, "ms": 3.2, "mew": 0.6, "alpha": 0.65}
  axes.plot(*hit.T, "x", label="triggered", **style)
  axes.set(xticks=[], yticks=[])
  axes.grid(visible=False)
  where = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
  small = {"fontsize": 6.5, "handletextpad": 0.1, "borderpad": 0}
  axes.legend(markerscale=2, **small, **where)


def _looks(
  present: list[int], names: list[str], wanted: set[int]
) -> list[tuple[list[int], str, str]]:
  """Returns (classes, words, colour) of the dots; the wanted class in bold."""
  import matplotlib

  def word(i: int) -> str:
    name = names[i] if i < len(names) else str(i)
    return f"{name} (target)" if wanted == {i} else name

  if len(present) <= MANY:
    hues = matplotlib.colormaps["tab10"].colors
    return [([i], word(i), hues[n]) for n, i in enumerate(present)]
  others = [i for i in present if i not in wanted]
  aims = [i for i in present if i in wanted]
  groups = [(others, "other classes", PLANTED), (aims, "wanted", BACKDOOR)]
  return [group for group in groups if group[0]]
