"""The straight line from a planted model to a repaired one.

Linear mode connectivity, Frankle et al. (arXiv 1912.05671): if the loss stays
low all the way, the defense has not left the valley in which the backdoor was
planted; where the backdoor's loss rises along it says how far one must go.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from bdjax.analysis import norms
from bdjax.analysis.scores import Probe, scores
from bdjax.machine import programs
from bdjax.types import Dataset, Params, Scalar

Progress = Callable[[int, int], None]  # done, of how many


def between(start: Params, end: Params, share: Scalar) -> Params:
  """Returns (1 - share) start + share end, the ends themselves at 0 and 1."""
  return jax.tree.map(lambda a, b: (1 - share) * a + share * b, start, end)


def along(
  model: nn.Module,
  start: Params,
  end: Params,
  images: Probe,
  clean: Dataset,
  *,
  points: int,
  statistics: str = norms.STORED,
  progress: Progress = lambda done, count: None,
) -> dict[str, list[float]]:
  """Returns scores at points of equal distance, both ends among them.

  Args:
    start: variables of one model.
    end: of another of the same architecture.
    images: scored on.
    clean: training images, for statistics that are recomputed.
    points: at least 2.
    statistics: batch norm's; see `norms.STATISTICS`.

  Returns:
    "share", and each name of `scores`, [points].
  """

  def at(start, end, share, images, clean):
    moved = between(start, end, share)
    return scores(model, norms.chosen(statistics, model, moved, clean), images)

  shares = [i / (points - 1) for i in range(points)]
  rows, rest = [], (images, clean)
  program = programs.compiled(at, start, end, jnp.float32(0), *rest)
  for share in shares:
    row = program(start, end, jnp.float32(share), *rest)
    rows.append({name: float(value) for name, value in row.items()})
    progress(len(rows), points)
  return {"share": shares} | {k: [row[k] for row in rows] for k in rows[0]}
