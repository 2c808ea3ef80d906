"""Nearest class means in a model's features: a classifier without training."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from bdjax.models.parts import heads
from bdjax.training import inference
from bdjax.types import Array, Batch, Dataset, Params


def features(model: nn.Module, variables: Params, batch: Batch) -> Array:
  """Returns a batch's pooled features, [B, C], of length 1."""
  _, outputs = model.apply(variables, batch.image, train=False)
  return heads.unit(outputs["pooled"])


def kernel(
  model: nn.Module, variables: Params, data: Dataset, *, num_classes: int
) -> Array:
  """Returns the mean feature of every class, [C, classes]; 0 for absent ones.

  Args:
    model: returns features with a "pooled" [B, C]; its logits play no part.
  """
  pooled = inference.each(data, lambda b: features(model, variables, b))
  member = jax.nn.one_hot(data.label, num_classes)
  return pooled.T @ member / jnp.maximum(member.sum(0), 1)[None]


def example(
  model: nn.Module,
  variables: Params,
  data: Dataset,
  *,
  label: int,
  num_classes: int,
) -> Array:
  """Returns a typical image of a class, [H, W, C] float in [0, 1].

  It is the first of the class that is nearest to its own class's mean feature,
  or the first of the class if none is.
  """
  means = heads.unit(
    kernel(model, variables, data, num_classes=num_classes), axis=0
  )
  nearest = inference.each(
    data, lambda b: (features(model, variables, b) @ means).argmax(-1)
  )
  member = data.label == label
  typical = member.astype(jnp.int32) + (member & (nearest == label))
  return data.image[typical.argmax()].astype(jnp.float32) / 255
