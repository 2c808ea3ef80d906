"""The loss around a planted model, on a plane of two random directions.

Li et al., "Visualizing the Loss Landscape of Neural Nets" (arXiv 1712.09913):
a direction is Gaussian noise, each filter of which is scaled to the norm of the
model's own filter; biases and what belongs to batch norm stay where they are,
as the authors' code has it (`ignore=biasbn`). Forget-Me-Not's figure 1 sketches
such a surface, whose valleys of low clean loss are to be full of the backdoor:
so the loss of the backdoor is measured on the same plane.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from bdjax.analysis import norms
from bdjax.analysis.line import Progress
from bdjax.analysis.scores import Probe, scores
from bdjax.machine import programs
from bdjax.machine.keys import key_for
from bdjax.types import Array, Dataset, Key, Params

AXES = ("first", "second")
# Points at once. A CPU takes 2.7 times as long for each of five (resnet9 of
# width 24, 200 images, jax 0.10.2): weights that differ make grouped
# convolutions, which it computes slowly. Elsewhere chosen.
CHUNK = {"cpu": 1}
CHUNK_ELSEWHERE = 25


def direction(key: Key, params: Params) -> Params:
  """Returns a random direction, normalized filter by filter.

  A filter is what leads to one output of a kernel: kernel[..., o]. What has
  fewer than two dimensions, or is no kernel, does not move.
  """
  leaves, tree = jax.tree_util.tree_flatten_with_path(params)
  keys = jax.random.split(key, len(leaves))
  moved = [
    _scaled(jax.random.normal(k, leaf.shape, leaf.dtype), leaf)
    if path[-1].key == "kernel" and leaf.ndim > 1
    else jnp.zeros_like(leaf)
    for k, (path, leaf) in zip(keys, leaves, strict=True)
  ]
  return jax.tree.unflatten(tree, moved)


def _scaled(noise: Array, kernel: Array) -> Array:
  inputs = tuple(range(kernel.ndim - 1))
  norm, own = (
    jnp.sqrt(jnp.sum(jnp.square(x), axis=inputs, keepdims=True))
    for x in (noise, kernel)
  )
  return noise * (own / norm)


def around(
  key: Key,
  model: nn.Module,
  variables: Params,
  images: Probe,
  clean: Dataset,
  *,
  grid: int,
  span: float,
  chunk: int | None = None,
  statistics: str = norms.STORED,
  progress: Progress = lambda done, count: None,
) -> dict[str, list]:
  """Returns scores on a square of the plane, the model in its middle.

  Args:
    key: of the two directions.
    images: scored on.
    clean: training images, for statistics that are recomputed.
    grid: points along a side; odd, for the model itself to be one.
    span: how far it reaches each way, in lengths of a direction.
    chunk: points at once, vmapped; None takes as many as suit the device.
    statistics: batch norm's; see `norms.STATISTICS`.

  Returns:
    "steps" [grid], and each name of `scores`, [grid][grid]: rows go along the
    second direction.
  """
  directions = [
    direction(key_for(key, name), variables["params"]) for name in AXES
  ]

  def at(place, variables, directions, images, clean):
    params = jax.tree.map(
      lambda w, a, b: w + place[0] * a + place[1] * b,
      variables["params"],
      *directions,
    )
    moved = {**variables, "params": params}
    return scores(model, norms.chosen(statistics, model, moved, clean), images)

  steps = np.linspace(-span, span, grid)
  places = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
  rest = (variables, directions, images, clean)
  many = jax.vmap(at, in_axes=(0, None, None, None, None))
  chunk = chunk or CHUNK.get(jax.default_backend(), CHUNK_ELSEWHERE)
  found = _chunks(many, places, rest, chunk, progress)
  shape = (grid, grid)
  return {"steps": steps.tolist()} | {
    name: values.reshape(shape).tolist() for name, values in found.items()
  }


def _chunks(many, places, rest, chunk, progress) -> dict[str, np.ndarray]:
  """Returns a function's values at all places, so many of them at a time."""
  count, size = len(places), min(chunk, len(places))
  padded = np.resize(places, (math.ceil(count / size) * size, 2))
  padded = jnp.asarray(padded, jnp.float32).reshape(-1, size, 2)
  program = programs.compiled(many, padded[0], *rest)
  rows = []
  for part in padded:
    rows.append(jax.tree.map(np.asarray, program(part, *rest)))
    progress(min(len(rows) * size, count), count)
  return {k: np.concatenate([r[k] for r in rows])[:count] for k in rows[0]}
