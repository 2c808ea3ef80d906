"""Scores a model on clean and triggered test images.

Only here and in records does ground truth appear. Triggered images are rounded
to 8 bits first: an adversary submits images, not floats.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from bdjax.attacks.parts import poison
from bdjax.machine import mesh as meshes
from bdjax.training import engine, metrics
from bdjax.training.engine import Rows
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
  test: Dataset | Rows,
  params: Params,
  *,
  attack: Attack,
  predict: Predict,
  batch_size: int,
  tally: Callable[..., Counts] = metrics.counts,
  mesh: Mesh | None = None,
) -> Counts:
  """Counts a model's answers over a test set.

  Args:
    key: for random triggers and defenses.
    test: clean images with their true labels.
    params: the trigger's.
    predict: (key, images) -> logits.
    tally: counts a batch; see `metrics.counts`.
    mesh: whose devices share each batch, or as many as divide it; None for one.
  """
  batches, pairs = _pairs(key, test, params, attack, batch_size, mesh)

  def body(item):
    (k_one, k_two), clean, hit, label, valid = pairs(item)
    return tally(
      predict(k_one, clean).argmax(-1),
      predict(k_two, hit).argmax(-1),
      label,
      _wanted(attack, label),
      valid,
    )

  tallies = jax.lax.map(body, batches)
  return jax.tree.map(lambda x: x.sum(0), tallies)


def suspicions(
  key: Key,
  test: Dataset | Rows,
  params: Params,
  *,
  attack: Attack,
  suspect: Suspect,
  batch_size: int,
  mesh: Mesh | None = None,
) -> dict[str, Array]:
  """Returns a detector's scores of a test set, clean and triggered.

  Arguments are those of `count`, with a detector in place of `predict`.

  Returns:
    "clean" and "hit", [N] scores, and "other", [N] bool: whether the image's
    own class differs from the target.
  """
  batches, pairs = _pairs(key, test, params, attack, batch_size, mesh)

  def body(item):
    (k_one, k_two), clean, hit, label, _ = pairs(item)
    other = _wanted(attack, label) != label
    return {
      "clean": suspect(k_one, clean),
      "hit": suspect(k_two, hit),
      "other": other,
    }

  scores = jax.lax.map(body, batches)
  return jax.tree.map(lambda x: x.reshape(-1)[: test.size], scores)


def _pairs(
  key: Key,
  test: Dataset | Rows,
  params: Params,
  attack: Attack,
  batch_size: int,
  mesh: Mesh | None,
) -> tuple[tuple[Array, Array], Callable[..., tuple[Any, ...]]]:
  """Returns the batches' numbers and places, and what makes a batch of them.

  A batch: two keys, clean images, the same triggered, labels, and whether each
  is a test image or padding.
  """
  batch_size = min(batch_size, test.size)
  steps = -(-test.size // batch_size)
  places = jnp.arange(steps * batch_size).reshape(steps, batch_size)
  if mesh is not None:
    shared = meshes.by_batch(meshes.dividing(mesh, batch_size))
    places = jax.lax.with_sharding_constraint(places, shared)
  data = engine.rows(test)

  def batch(item):
    i, place = item
    clean, label, _ = engine.take(data, jnp.minimum(place, test.size - 1))
    k_hit, k_one, k_two = jax.random.split(jax.random.fold_in(key, i), 3)
    hit = triggered(k_hit, clean, params, attack)
    return (k_one, k_two), clean, hit, label, place < test.size

  return (jnp.arange(steps), places), batch


def _wanted(attack: Attack, label: Labels) -> Labels:
  return attack.target(label).astype(label.dtype)
