"""Scores a model on clean and triggered test images.

Only here and in records does ground truth appear. Triggered images are rounded
to 8 bits first: an adversary submits images, not floats.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from bdjax import backend, metrics, poison
from bdjax.types import (
  Attack,
  Dataset,
  Images,
  Key,
  Labels,
  Logits,
  Params,
)

Predict = Callable[[Key, Images], Logits]
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
) -> Counts:
  """Counts a model's answers over a test set; see `metrics.counts`.

  Args:
    key: for random triggers and defenses.
    test: clean images with their true labels.
    params: the trigger's.
    attack: its trigger and target.
    predict: (key, images) -> logits.
    batch_size: images per step, at most.
  """
  size = test.size
  batch_size = min(batch_size, size)
  steps = -(-size // batch_size)

  def body(total, i):
    place = i * batch_size + jnp.arange(batch_size)
    index = jnp.minimum(place, size - 1)
    label = test.label[index]
    clean = test.image[index].astype(jnp.float32) / 255
    k_hit, k_one, k_two = jax.random.split(jax.random.fold_in(key, i), 3)
    hit = triggered(k_hit, clean, params, attack)
    found = metrics.counts(
      predict(k_one, clean).argmax(-1),
      predict(k_two, hit).argmax(-1),
      label,
      _wanted(attack, label),
      place < size,
    )
    return jax.tree.map(jnp.add, total, found), None

  zero = dict.fromkeys(_KINDS, jnp.zeros((), jnp.int32))
  return jax.lax.scan(body, zero, jnp.arange(steps))[0]


_KINDS = ("images", "correct", "triggered", "hits", "hits_incl", "resisted")


def _wanted(attack: Attack, label: Labels) -> Labels:
  return attack.target(label).astype(label.dtype)


def compiled(function: Callable, *args) -> Callable:
  """Compiles a function for these arguments with the platform's options."""
  options = backend.compiler_options()
  return jax.jit(function).lower(*args).compile(compiler_options=options)
