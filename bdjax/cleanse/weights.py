"""What a repair did to the weights, layer by layer, under PyTorch's names."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

_STATISTICS = (".running_mean", ".running_var")


class Change(NamedTuple):
  """How much one layer changed.

  Attributes:
    name: of the module, as PyTorch calls it.
    relative: Euclidean norm of the change over that of the weights before.
    statistics: the same of batch norm's running statistics; None without any.
    zeros: weights that became exactly zero.
  """

  name: str
  relative: float
  statistics: float | None
  zeros: int


def changes(
  before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]
) -> tuple[Change, ...]:
  """Returns how every layer changed, in the order of the names.

  Args:
    before: tensors by PyTorch's names.
    after: the same, of the repaired model.
  """
  layers = (n for n in before if not n.endswith(_STATISTICS))
  modules = dict.fromkeys(name.rpartition(".")[0] for name in layers)
  rows = []
  for module in modules:
    names = [n for n in before if n.rpartition(".")[0] == module]
    moving = [n for n in names if n.endswith(_STATISTICS)]
    weights = [n for n in names if n not in moving]
    zeros = sum(
      int(((after[n] == 0) & (before[n] != 0)).sum()) for n in weights
    )
    statistics = _relative(before, after, moving) if moving else None
    relative = _relative(before, after, weights)
    rows.append(Change(module, relative, statistics, zeros))
  return tuple(rows)


def whole(
  before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]
) -> float:
  """Returns the relative change of all weights, without statistics."""
  names = [n for n in before if not n.endswith(_STATISTICS)]
  return _relative(before, after, names)


def _relative(before, after, names) -> float:
  old = [before[n].ravel().astype(np.float64) for n in names]
  new = [after[n].ravel().astype(np.float64) for n in names]
  old, new = np.concatenate(old), np.concatenate(new)
  moved = float(np.linalg.norm(new - old))
  length = float(np.linalg.norm(old))
  return moved / length if length else (0.0 if moved == 0 else float("inf"))
