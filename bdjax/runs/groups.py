"""Which cells of a plan can be one program: they differ in numbers only.

Static arguments decide shapes and program text, so cells are grouped by them.
Within a group seeds differ, and numbers (`signature.Argument.sweepable`): those
that differ are traced, the rest stay constants, as in a cell run by itself.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from bdjax.runs.cells import Cell
from bdjax.runs.methods import Method


class Group(NamedTuple):
  """Cells of one program, and the numbers that tell them apart."""

  cells: list[Cell]
  numbers: dict[str, np.ndarray]  # argument -> [cells]


def planting(cells: Sequence[Cell]) -> list[Group]:
  """Returns groups of cells whose planting is one program."""
  return _grouped(cells, lambda cell: cell.attack, lambda c: c.regime.label)


def defending(cells: Sequence[Cell]) -> list[Group]:
  """Returns groups of cells whose defense is one program, over all attacks."""
  return _grouped(cells, lambda c: c.defense, lambda c: list(c.defense.holding))


def _grouped(
  cells: Sequence[Cell],
  method_of: Callable[[Cell], Method],
  beside: Callable[[Cell], Any],
) -> list[Group]:
  found: dict[str, list[Cell]] = {}
  for cell in cells:
    method = method_of(cell)
    fixed = {k: v for k, v in method.args.items() if k not in method.numbers}
    key = json.dumps([method.name, fixed, beside(cell)], default=str)
    found.setdefault(key, []).append(cell)
  return [Group(same, _differing(same, method_of)) for same in found.values()]


def _differing(
  cells: list[Cell], method_of: Callable[[Cell], Method]
) -> dict[str, np.ndarray]:
  methods = [method_of(cell) for cell in cells]
  values = {k: [m.args[k] for m in methods] for k in methods[0].numbers}
  return {
    k: np.asarray(v, np.float32) for k, v in values.items() if len(set(v)) > 1
  }
