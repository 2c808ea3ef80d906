"""Draws the rooms of the package and what they import, from the code itself.

A room is a folder of `bdjax/` or a file at its top. It stands above all that it
imports; an arrow is left out where others lead the same way.
"""

import ast
import io
from pathlib import Path

import matplotlib.patches
from matplotlib.figure import Figure

PACKAGE = Path(__file__).parents[1] / "bdjax"
WIDE, HIGH = 1.3, 0.42  # of a room, in inches
Graph = dict[str, set[str]]


def graph() -> Graph:
  """Returns which rooms each room imports."""
  rooms: Graph = {}
  for path in sorted(PACKAGE.rglob("*.py")):
    room = _room(path)
    if room == "__init__":
      continue
    rooms.setdefault(room, set())
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.ImportFrom) and node.module:
        names = [f"{node.module}.{alias.name}" for alias in node.names]
        own = [name.split(".") for name in names if name.startswith("bdjax.")]
        rooms[room] |= {parts[1] for parts in own} - {room}
  return rooms


def floors(rooms: Graph) -> list[list[str]]:
  """Returns the rooms from the lowest up: each above all that it imports."""
  known: dict[str, int] = {}
  while len(known) < len(rooms):
    ready = [
      room
      for room, below in rooms.items()
      if room not in known and below <= known.keys()
    ]
    if not ready:
      raise ValueError(f"{sorted(rooms.keys() - known)} import each other.")
    known |= {
      r: max((known[b] + 1 for b in rooms[r]), default=0) for r in ready
    }
  height = max(known.values()) + 1
  return [sorted(r for r in known if known[r] == i) for i in range(height)]


def direct(rooms: Graph) -> Graph:
  """Returns the arrows that no way over other rooms replaces."""

  def reached(room: str) -> set[str]:
    return rooms[room].union(*map(reached, rooms[room]))

  return {
    room: below - set().union(*map(reached, below))
    for room, below in rooms.items()
  }


def picture() -> str:
  """Returns the picture as SVG for a page."""
  rooms = graph()
  rows = floors(rooms)
  most = max(map(len, rows))
  place = {
    room: (1.6 * WIDE * (i + (most - len(row)) / 2), 2.4 * HIGH * y)
    for y, row in enumerate(rows)
    for i, room in enumerate(row)
  }
  figure = Figure((1.6 * WIDE * most, 2.4 * HIGH * len(rows)))
  axes = figure.add_axes((0, 0, 1, 1))
  for room, (x, y) in place.items():
    box = matplotlib.patches.FancyBboxPatch(
      (x, y), WIDE, HIGH, "round,pad=0.03", facecolor="#eef2f7", zorder=2
    )
    axes.add_patch(box)
    axes.text(
      x + WIDE / 2, y + HIGH / 2, room, ha="center", va="center", zorder=3
    )
  for room, below in direct(rooms).items():
    for other in below:
      start = place[room][0] + WIDE / 2, place[room][1] - 0.03
      end = place[other][0] + WIDE / 2, place[other][1] + HIGH + 0.03
      style = {"arrowstyle": "->", "color": "#7a869a"}
      axes.annotate("", end, start, arrowprops=style)
  axes.set_xlim(-0.3 * WIDE, 1.6 * WIDE * most)
  axes.set_ylim(-0.5 * HIGH, 2.4 * HIGH * len(rows))
  axes.set_axis_off()
  text = io.StringIO()
  figure.savefig(text, format="svg", metadata={"Date": None})
  return text.getvalue()[text.getvalue().index("<svg") :].rstrip()


def _room(path: Path) -> str:
  return path.relative_to(PACKAGE).with_suffix("").parts[0]
