"""ASR of attacks by defenses as a heat map, printed numbers in brackets.

Rows and columns have the paper's names where a group stands for one of its
cells, and ours elsewhere. A cell that was not measured has no colour.
One is hatched whose attack failed or whose model is destroyed.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from bdjax.report import figures, results
from bdjax.study import drawing, match, measured
from bdjax.study.comparison import Compared
from bdjax.study.drawing import Drawing
from bdjax.study.match import Evidence

if TYPE_CHECKING:
  from matplotlib.axes import Axes

_FITS = 13  # letters of a column's name above it; longer ones are slanted


class Grid(NamedTuple):
  """ASR in percent by (row, column); a value may be missing in either."""

  rows: list[str]
  columns: list[str]
  means: dict[tuple[str, str], float]
  printed: dict[tuple[str, str], float]
  unjudged: frozenset[tuple[str, str]] = frozenset()  # of `tables.UNJUDGED`


def heat(evidence: Evidence, compared: Sequence[Compared]) -> list[Drawing]:
  """Returns the heat map of all that was measured or printed."""
  grid = arranged(evidence, compared)
  if not grid.means and not grid.printed:
    return []
  longest = max(map(len, grid.rows))
  tilted = max(map(len, grid.columns))
  tilted = tilted if tilted > _FITS else 0
  width = 0.8 + 0.07 * (longest + tilted) + 0.95 * len(grid.columns)
  height = 1.1 + 0.025 * tilted + 0.42 * len(grid.rows)
  caption = "ASR in percent; in brackets the paper's; hatched: not judged"
  return [Drawing("heat", caption, _draw(grid), width, height)]


def arranged(evidence: Evidence, compared: Sequence[Compared]) -> Grid:
  """Returns rows and columns in the paper's order, further ones behind."""
  shown = [
    one
    for one in compared
    if one.cell.metric == "asr" and not one.cell.epoch and not one.cell.source
  ]
  stands = {one.group: one for one in shown if one.group}
  rows = {}  # ours keep their names where the data are not the paper's
  if not evidence.foreign:
    rows = {one.group[:-1]: one.cell.row for one in shown if one.group}
  columns = {key[-1]: one.cell.defense for key, one in stands.items()}
  papers = {(one.cell.row, one.cell.defense) for one in shown}
  means, places, unjudged = {}, [], set()
  for key, records in evidence.groups.items():
    counterpart = stands.get(key)
    cell = drawing.of(evidence, key[-1])
    reading = measured.read(records, cell, evidence.run)
    row = rows.get(key[:-1]) or _row(key)
    place = row, columns.get(key[-1], key[-1])
    if counterpart:
      place = row, counterpart.cell.defense
    elif place in papers:  # which is of another group, or of none
      place = _row(key), key[-1]
    if reading is not None:
      means[place] = reading.mean
      if drawing.unjudged(records):
        unjudged.add(place)
      places.append(place)
  printed = {
    (one.cell.row, one.cell.defense): one.cell.value
    for one in shown
    if one.cell.value is not None
  }
  places = [*printed, *places]
  return Grid(
    list(dict.fromkeys(row for row, _ in places)),
    list(dict.fromkeys(column for _, column in places)),
    means,
    printed,
    frozenset(unjudged),
  )


def _row(key: match.Group) -> str:
  row = dict(zip(results.GROUP, key, strict=True))
  words = (*match.datasets(row["dataset"]), row["attack"], row["regime"])
  return " ".join(words)


def _draw(grid: Grid) -> Callable[["Axes"], None]:
  def draw(axes):
    for i, row in enumerate(grid.rows):
      for j, column in enumerate(grid.columns):
        mean = grid.means.get((row, column))
        paper = grid.printed.get((row, column))
        _fill(axes, (j, i), mean, paper, (row, column) in grid.unjudged)
    axes.set_xticks(range(len(grid.columns)), grid.columns)
    if max(map(len, grid.columns)) > _FITS:
      axes.tick_params(axis="x", labelrotation=20)
      for label in axes.get_xticklabels():
        label.set(ha="left", rotation_mode="anchor")
    axes.set_yticks(range(len(grid.rows)), grid.rows)
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set(xlim=(-0.5, len(grid.columns) - 0.5))
    axes.set(ylim=(len(grid.rows) - 0.5, -0.5))

  return draw


def _fill(
  axes: "Axes",
  place: tuple[int, int],
  mean: float | None,
  paper: float | None,
  hatched: bool,
) -> None:
  x, y = place
  words = {"ha": "center", "va": "center"}
  if mean is not None:
    figures.draw_tile(axes, place, mean / 100, "asr", hatched=hatched)
    up = 0.17 if paper is not None else 0.0
    axes.text(x, y - up, f"{mean:.1f}", fontsize=8.5, **words)
    if paper is not None:
      axes.text(x, y + 0.22, f"({paper:g})", fontsize=7, **words)
  elif paper is not None:
    axes.text(x, y, f"({paper:g})", fontsize=7, **words)
