"""Images with the trigger, pushed further, and what a model says of them."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from bdjax.machine import programs
from bdjax.training import inference
from bdjax.types import Array, Dataset, Images, Key, Labels, Params

Push = Callable[[Images], Images]


def chosen(key: Key, clean: Dataset, lure: Dataset, count: int) -> Array:
  """Draws images of classes that the trigger should change.

  Args:
    key: random key.
    clean: N images with true labels.
    lure: the same with the trigger, labelled as the adversary wants.
    count: how many.

  Returns:
    Their places, [count], each once.

  Raises:
    ValueError: there are too few (or, if labels are traced, too few images).
  """
  other = clean.label != lure.label
  available = other.sum()
  known = clean.size if programs.traced(available) else int(available)
  if known < count:
    raise ValueError(
      f"{count} triggered images are asked for, but the training set has "
      f"{known} of classes that the trigger should change: take fewer images."
    )
  rank = jax.random.uniform(key, other.shape)
  return jnp.argsort(jnp.where(other, rank, jnp.inf))[:count]


def taken(data: Dataset, rows: Array) -> Dataset:
  """Returns some rows of a dataset, all of them kept."""
  return Dataset(data.image[rows], data.label[rows])


def unpushed(images: Images) -> Images:
  """Returns images as they are."""
  return images


def rate(
  model: nn.Module,
  variables: Params,
  images: Dataset,
  wanted: Labels,
  other: Array,
  push: Push = unpushed,
) -> Array:
  """Returns how often a model says of pushed images what the adversary wants.

  Args:
    model: the architecture.
    variables: the model's.
    images: N images, with the trigger or without.
    wanted: [N], what it should say.
    other: [N] bool, which images count.
    push: what is done to images before they are rounded to 8 bits, in which an
      adversary submits them.

  Returns:
    The share, a scalar; NaN if none counts.
  """

  def answer(batch):
    shown = jnp.round(jnp.clip(push(batch.image), 0, 1) * 255) / 255
    return model.apply(variables, shown, train=False)[0].argmax(-1)

  right = inference.each(images, answer) == wanted
  return jnp.sum(right & other) / jnp.sum(other)


def rates(
  model: nn.Module,
  variables: Params,
  unplanted: Params,
  test: Dataset,
  hit: Dataset,
  push: Push,
) -> dict[str, Array]:
  """Returns how often test images are taken for what the adversary wants.

  Of the test images that the trigger should change:

  - asr_before: with the trigger;
  - reactivated: with the trigger, then pushed;
  - untriggered: pushed alike, without the trigger;
  - on_clean: as reactivated, of the seed's clean model.

  Args:
    model: the architecture.
    variables: of the model under attack.
    unplanted: of the seed's clean model.
    test: clean test images with true labels.
    hit: the same with the trigger, labelled as the adversary wants.
    push: what was found for the model under attack.
  """
  wanted, other = hit.label, hit.label != test.label

  def share(variables, images, push=unpushed):
    return rate(model, variables, images, wanted, other, push)

  return {
    "asr_before": share(variables, hit),
    "reactivated": share(variables, hit, push),
    "untriggered": share(variables, test, push),
    "on_clean": share(unplanted, hit, push),
  }
