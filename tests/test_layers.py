"""Imports go strictly downward, and names sit where the plan says."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "bdjax"
LAYERS = [
  ("types", "signature", "registry", "specs"),
  (
    *("schedules", "optimizers", "augment", "warp", "data", "models"),
    *("metrics", "backend", "distort", "mesh", "hosts", "programs", "engine"),
    *("preemption", "storage"),
  ),
  (
    *("learn", "tuning", "loop", "poison", "regimes", "control", "neurons"),
    *("universal", "patches", "inference", "inversion", "search", "pruning"),
    *("clusters", "filtering", "implicit", "simclr", "prototypes"),
  ),
  ("attacks", "defenses"),
  ("evaluate", "experiment", "scenarios", "sequela", "sweep"),
  (
    *("checkpoint", "environment", "progress", "results", "report", "work"),
    *("listing", "options", "runs", "launch", "bench", "interop"),
    *("cleanse", "study", "aot"),
  ),
]
LEVEL = {name: i for i, names in enumerate(LAYERS) for name in names}
MODULES = sorted(
  p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py"
)


def room(path: Path) -> str:
  return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
  """Returns the rooms of bdjax that a file imports."""
  found = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
      found |= {f"{node.module}.{alias.name}" for alias in node.names}
  own = (name.split(".") for name in found if name.startswith("bdjax."))
  return {parts[1] for parts in own}


def test_every_room_has_a_level():
  assert {room(p) for p in MODULES} == set(LEVEL)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.stem)
def test_imports_go_downward(path):
  here = room(path)
  for there in imports(path) - {here}:
    assert LEVEL[there] <= LEVEL[here], f"{here} imports {there}"
    if here in ("attacks", "defenses"):
      assert there not in ("attacks", "defenses"), f"{path} imports {there}"


@pytest.mark.parametrize(
  "path", [p for p in MODULES if room(p) in ("attacks", "defenses")]
)
def test_methods_do_not_import_each_other(path):
  assert room(path) not in imports(path)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.stem)
def test_files_stay_short(path):
  assert len(path.read_text().splitlines()) <= 300
