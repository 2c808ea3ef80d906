"""Imports go strictly downward, and names sit where the plan says."""

import ast
import graphlib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "bdjax"
FLOORS = (
  ("types",),
  ("machine", "methods"),
  ("models",),
  ("cli", "data", "interop", "report"),
  ("study", "training"),
  ("attacks", "defenses", "sequela"),
  ("runs",),
  ("analysis", "aot", "archive", "cleanse", "scenarios"),
  ("api", "bench", "estimate"),
  ("actions",),
  ("launch",),
)
FLOOR = {room: i for i, rooms in enumerate(FLOORS) for room in rooms}
PLUGGED = ("attacks", "defenses", "models", "scenarios", "sequela")
FILES = sorted(p for p in PACKAGE.rglob("*.py") if p.parent != PACKAGE) + [
  PACKAGE / f"{name}.py" for name in ("actions", "launch", "types")
]


def parts(path: Path) -> tuple[str, ...]:
  return path.relative_to(PACKAGE).with_suffix("").parts


def imports(path: Path) -> set[tuple[str, ...]]:
  """Returns what a file imports of bdjax, as (room, ..., name)."""
  found = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
      found |= {f"{node.module}.{alias.name}" for alias in node.names}
  return {tuple(x.split(".")[1:]) for x in found if x.startswith("bdjax.")}


def shown(path: Path) -> str:
  return "/".join(parts(path))


def test_every_room_has_its_floor():
  rooms = {p.parent for p in PACKAGE.rglob("*.py")} - {PACKAGE}
  assert {parts(p)[0] for p in FILES} == set(FLOOR)
  assert all((room / "__init__.py").exists() for room in rooms)
  assert len(list(PACKAGE.glob("*.py"))) == 4  # a newcomer looks here first


@pytest.mark.parametrize("path", FILES, ids=shown)
def test_imports_go_downward(path):
  here = parts(path)[0]
  for there, *rest in imports(path):
    below = FLOOR[there] < FLOOR[here] or there == here
    assert below, f"{here} imports {there}"
    own = there == here or not any(name.startswith("_") for name in rest)
    assert own, f"{here} imports {there}'s {rest}"


@pytest.mark.parametrize("room", sorted(FLOOR))
def test_no_files_of_a_room_import_in_a_circle(room):
  files = {parts(p): p for p in FILES if parts(p)[0] == room}
  graph = {}
  for name, path in files.items():
    heads = {to[:n] for to in imports(path) for n in range(1, len(to) + 1)}
    graph[name] = heads & (files.keys() - {name})
  graphlib.TopologicalSorter(graph).prepare()  # raises where there is one


@pytest.mark.parametrize(
  "path", [p for p in FILES if parts(p)[0] in PLUGGED], ids=shown
)
def test_methods_share_only_what_lies_in_parts(path):
  here, *rest = parts(path)
  shares = {name[1] for name in imports(path) if name[0] == here}
  if rest[0] == "parts":
    assert shares <= {"parts"}, "what is shared knows nothing of methods"
  elif rest != ["__init__"]:
    bases = {"parts"} | {n for n in shares if n[0].isupper()}
    assert shares <= bases, f"{path} imports another method"


@pytest.mark.parametrize("path", FILES, ids=shown)
def test_files_stay_short(path):
  assert len(path.read_text().splitlines()) <= 300
