"""Outputs of a model for every example of a dataset, without training."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from bdjax.training import engine
from bdjax.types import Array, Batch, Dataset, Params

BATCH = 500  # examples asked at once


def each(
  data: Dataset,
  function: Callable[[Batch], Params],
  *,
  batch_size: int = BATCH,
) -> Params:
  """Returns a function's outputs for every example, kept or not.

  Args:
    data: N examples, taken in order.
    function: batch -> a pytree of arrays [B, ...].
    batch_size: examples at once, at most.

  Returns:
    The same pytree with arrays [N, ...].
  """
  size = min(batch_size, data.size)
  steps = -(-data.size // size)
  index = jnp.minimum(jnp.arange(steps * size), data.size - 1)
  flat = engine.rows(data)
  outputs = jax.lax.map(
    lambda place: function(engine.take(flat, place)), index.reshape(steps, size)
  )
  return jax.tree.map(
    lambda x: x.reshape(steps * size, *x.shape[2:])[: data.size], outputs
  )


def accuracy(model: nn.Module, variables: Params, data: Dataset) -> Array:
  """Returns the share of examples that a model classifies as labelled."""

  def right(batch):
    logits, _ = model.apply(variables, batch.image, train=False)
    return logits.argmax(-1) == batch.label

  return jnp.mean(each(data, right))
