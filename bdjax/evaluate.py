"""Scores a model on clean and triggered test images.

Only here and in records does ground truth appear. Triggered images are rounded
to 8 bits first: an adversary submits images, not floats.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from bdjax import backend, metrics, poison
from bdjax.types import (
  Array,
  Attack,
  Dataset,
  Images,
  Key,
  Labels,
  Logits,
  Params,
  Scores,
)

Predict = Callable[[Key, Images], Logits]
Suspect = Callable[[Key, Images], Scores]
Counts = dict[str, jax.Array]


def triggered(
  key: Key, images: Images, params: Params, attack: Attack
) -> Images:
  """Returns the images as the adversary submits them: stamped, in 8 bits."""
  hit = poison.to_bytes(attack.trigger(key, images, params))
  return hit.astype(jnp.float32) / 255


def count(
  key: Key,
  test: Dataset,
  params: Params,
  *,
  attack: Attack,
  predict: Predict,
  batch_size: int,
  tally: Callable[..., Counts] = metrics.counts,
) -> Counts:
  """Counts a model's answers over a test set.

  Args:
    key: for random triggers and defenses.
    test: clean images with their true labels.
    params: the trigger's.
    attack: its trigger and target.
    predict: (key, images) -> logits.
    batch_size: images per step, at most.
    tally: counts a batch; see `metrics.counts`.
  """
  steps, pairs = _pairs(key, test, params, attack, batch_size)

  def body(i):
    (k_one, k_two), clean, hit, label, valid = pairs(i)
    return tally(
      predict(k_one, clean).argmax(-1),
      predict(k_two, hit).argmax(-1),
      label,
      _wanted(attack, label),
      valid,
    )

  found = jax.lax.map(body, jnp.arange(steps))
  return jax.tree.map(lambda x: x.sum(0), found)


def suspicions(
  key: Key,
  test: Dataset,
  params: Params,
  *,
  attack: Attack,
  suspect: Suspect,
  batch_size: int,
) -> dict[str, Array]:
  """Returns a detector's scores of a test set, clean and triggered.

  Args:
    key: for random triggers and detectors.
    test: clean images with their true labels.
    params: the trigger's.
    attack: its trigger and target.
    suspect: (key, images) -> scores, high = suspicious.
    batch_size: images per step, at most.

  Returns:
    "clean" and "hit", [N] scores, and "other", [N] bool: whether the image's
    own class is not the wanted one.
  """
  steps, pairs = _pairs(key, test, params, attack, batch_size)

  def body(i):
    (k_one, k_two), clean, hit, label, _ = pairs(i)
    other = _wanted(attack, label) != label
    return {
      "clean": suspect(k_one, clean),
      "hit": suspect(k_two, hit),
      "other": other,
    }

  found = jax.lax.map(body, jnp.arange(steps))
  return jax.tree.map(lambda x: x.reshape(-1)[: test.size], found)


def _pairs(key, test, params, attack, batch_size):
  """Returns how many batches there are, and what gives the i-th of them.

  A batch: two keys, clean images, the same triggered, labels, and whether each
  is a test image or padding.
  """
  batch_size = min(batch_size, test.size)

  def batch(i):
    place = i * batch_size + jnp.arange(batch_size)
    index = jnp.minimum(place, test.size - 1)
    clean = test.image[index].astype(jnp.float32) / 255
    k_hit, k_one, k_two = jax.random.split(jax.random.fold_in(key, i), 3)
    hit = triggered(k_hit, clean, params, attack)
    return (k_one, k_two), clean, hit, test.label[index], place < test.size

  return -(-test.size // batch_size), batch


def _wanted(attack: Attack, label: Labels) -> Labels:
  return attack.target(label).astype(label.dtype)


def compiled(function: Callable, *args) -> Callable:
  """Compiles a function for these arguments with the platform's options."""
  options = backend.compiler_options()
  return jax.jit(function).lower(*args).compile(compiler_options=options)
