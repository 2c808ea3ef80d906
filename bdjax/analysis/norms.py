"""Batch norm's running statistics of a model whose weights were moved.

A model between two others, or beside one, has weights that no training has
given statistics to. `STORED` takes those that there are (interpolated where the
weights are); `RECOMPUTED` passes clean images once more, and takes the plain
mean of their batches' statistics, as SWA does (Izmailov et al., arXiv
1803.05407, section 3.2: one pass over the data).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from bdjax.analysis import scores
from bdjax.training import learn
from bdjax.types import Dataset, Params

STORED, RECOMPUTED = "stored", "recomputed"
STATISTICS = (STORED, RECOMPUTED)
BATCH = 250  # images whose statistics are taken together (chosen)


def recomputed(model: nn.Module, variables: Params, clean: Dataset) -> Params:
  """Returns a model with the batch statistics of clean images.

  One update keeps a share m of the old statistics and takes 1 - m of the
  batch's. Updates from zero and from one, of the same batch, tell m and so the
  batch's own, whatever m a layer has.

  Args:
    clean: what does not fill a batch of `BATCH` is left out.
  """
  params, stats = learn.parted(variables)
  if not jax.tree.leaves(stats):
    return variables
  zeros, ones = (
    jax.tree.map(f, stats) for f in (jnp.zeros_like, jnp.ones_like)
  )

  def of_batch(images):
    images = scores.floats(images)
    low, high = (
      learn.forward(model, params, start, images)[1] for start in (zeros, ones)
    )
    return jax.tree.map(lambda a, b: a / (1 - jnp.mean(b - a)), low, high)

  taken = jax.lax.map(of_batch, scores.batches(clean, BATCH))
  return {"params": params, **jax.tree.map(lambda x: x.mean(0), taken)}


def chosen(
  kind: str, model: nn.Module, variables: Params, clean: Dataset
) -> Params:
  """Returns a model with statistics of a kind; see `STATISTICS`."""
  if kind == RECOMPUTED:
    return recomputed(model, variables, clean)
  return variables
