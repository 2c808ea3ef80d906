"""How much of a planted model's backdoor is still in another model's layers.

The backdoor existence coefficient of Zhu, Liang and Wu, arXiv 2405.16134, by
linear CKA (Kornblith et al., arXiv 1905.00414): see `reactivation`.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from bdjax.data import splits
from bdjax.sequela.parts import lures
from bdjax.training import inference, metrics
from bdjax.types import Array, Dataset, Images, Params

Layers = dict[str, Array]


def linear_cka(x: Array, y: Array, use: Array) -> Array:
  """Returns how alike two representations of the same examples are, in [0, 1].

  Args:
    x: [N, ...].
    y: [N, ...], of any other shape.
    use: [N] bool, which examples count.
  """
  first, second = _gram(x, use), _gram(y, use)
  size = jnp.linalg.norm(first) * jnp.linalg.norm(second)
  return jnp.sum(first * second) / jnp.where(size > 0, size, 1)


def _gram(x: Array, use: Array) -> Array:
  """Returns the products of examples, centered and scaled, [N, N]."""
  x = x.reshape(x.shape[0], -1).astype(jnp.float32)
  use = use[:, None]
  mean = jnp.sum(x * use, 0, keepdims=True) / jnp.maximum(use.sum(), 1)
  x = (x - mean) * use
  # Products of products would leave float32 with large layers.
  x = x / jnp.maximum(jnp.abs(x).max(), jnp.finfo(jnp.float32).tiny)
  return jnp.matmul(x, x.T, precision="highest")


def most(change: Array, share: float) -> Array:
  """Returns the channels that change most: a share of them, one at least.

  Args:
    change: [C].
    share: static, since it decides shapes; their number is rounded down.
  """
  return jax.lax.top_k(change, max(1, int(share * change.size)))[1]


def coefficient(likeness: Array, clean: Array) -> Array:
  """Returns the coefficient of a model.

  Args:
    likeness: the mean CKA of the model and the planted one.
    clean: that of the clean model; if it is 1, nothing was planted: NaN.
  """
  held = jnp.clip((likeness - clean) / (1 - clean), 0, 1)
  return jnp.where(clean < 1, held, jnp.nan)


def existence(
  model: nn.Module,
  variables: Params,
  planted: Params,
  unplanted: Params,
  test: Dataset,
  hit: Dataset,
  *,
  share: float,
  images: int,
) -> dict[str, Array]:
  """Returns `bec`, the coefficient, and `cka`, the likeness to the planted one.

  Args:
    model: the architecture.
    variables: of the model in question.
    planted: of the planted model.
    unplanted: of the seed's clean model.
    test: clean test images with true labels.
    hit: the same with the trigger, labelled as the adversary wants.
    share: of a layer's channels that are the backdoor's neurons.
    images: test images that are compared, at most; those of classes that the
      trigger should change, in a random order, the same for all models.
  """
  other = hit.label != test.label
  order = jnp.asarray(splits.shuffled(test.size))
  rows = order[jnp.argsort(~other[order], stable=True)][:images]
  test, hit, use = lures.taken(test, rows), lures.taken(hit, rows), other[rows]
  change = _changes(model, planted, test, hit, use)
  neurons = {name: most(x, share) for name, x in change.items()}

  def held(variables):
    def pick(batch):
      maps = layers(model, variables, batch.image)
      return {k: maps[k][..., chosen] for k, chosen in neurons.items()}

    return inference.each(hit, pick)

  reference = held(planted)

  def likeness(variables):
    here = held(variables)
    each = [linear_cka(x, here[k], use) for k, x in reference.items()]
    return jnp.mean(jnp.stack(each))

  alike, clean = likeness(variables), likeness(unplanted)
  return {"bec": coefficient(alike, clean), "cka": alike}


def _changes(
  model: nn.Module, variables: Params, test: Dataset, hit: Dataset, use: Array
) -> Layers:
  """Returns how far the trigger moves each layer's channels, [C] each."""
  both = Dataset(jnp.stack([test.image, hit.image], 1), hit.label)

  def change(batch):
    clean, hit = (layers(model, variables, batch.image[:, i]) for i in (0, 1))
    return {k: metrics.channel_norms(hit[k] - clean[k]) for k in clean}

  moved = inference.each(both, change)
  return jax.tree.map(lambda x: x.mean(0, where=use[:, None]), moved)


def layers(model: nn.Module, variables: Params, images: Images) -> Layers:
  """Returns the layers that have a place in the image, [B, h, w, C] each.

  Raises:
    ValueError: the model returns none.
  """
  features = model.apply(variables, images, train=False)[1]
  maps = {k: x for k, x in features.items() if x.ndim == 4}
  if not maps:
    raise ValueError(
      f"reactivation compares layers [B, h, w, c], but the model returns "
      f"{sorted(features) or 'none'}: take one that returns some by name."
    )
  return maps
