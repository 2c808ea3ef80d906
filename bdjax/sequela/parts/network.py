"""Membership by a small network that reads a classifier's probabilities.

It sees the probabilities sorted from the largest on, and the label as one-hot;
64 and 64 hidden units with ReLU, one log-odds of membership. Trained by
cross-entropy with Adam at .001 for 50 epochs on a shadow model's answers. The
idea is that of Shokri et al. (arXiv 1610.05820) with one shadow model and one
network for all classes (Salem et al., arXiv 1806.01246); inputs, sizes and
training are chosen here.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from bdjax.models.parts import base, heads
from bdjax.training import learn, optimizers
from bdjax.types import (
  Array,
  Dataset,
  Fit,
  Key,
  Labels,
  Logits,
  Params,
  Recipe,
  Scores,
)

HIDDEN = (64, 64)
RECIPE = Recipe(lr=1e-3, epochs=50, batch_size=128)  # by Adam


class Judge(base.Network):
  """Log-odds of membership, as the second of two logits beside 0."""

  @nn.compact
  def __call__(
    self, x: Array, train: bool = False
  ) -> tuple[Logits, dict[str, Array]]:
    """Maps features [B, 1, 1, F] to logits [B, 2] and no features."""
    layers = heads.MLP(1, hidden=HIDDEN, dropout=0.0, name="layers")
    odds = layers(x.reshape(x.shape[0], -1), train)
    return jnp.concatenate([jnp.zeros_like(odds), odds], -1), {}


def features(logits: Logits, label: Labels) -> Array:
  """Returns what the network reads, [N, 1, 1, 2 classes].

  Args:
    logits: [N, classes].
    label: [N].
  """
  p = jnp.sort(jax.nn.softmax(logits), axis=-1, descending=True)
  one_hot = jax.nn.one_hot(label, logits.shape[-1])
  return jnp.concatenate([p, one_hot], -1)[:, None, None]


def train(
  key: Key,
  logits: Logits,
  label: Labels,
  member: Array,
  use: Array,
  fit: Fit,
  recipe: Recipe = RECIPE,
) -> Params:
  """Returns the variables of a network that knows members of a shadow model.

  Args:
    logits: [N, classes], the shadow model's.
    label: [N].
    member: [N] bool.
    use: [N] bool, which examples to train on.
  """
  k_init, k_fit = jax.random.split(key)
  # A fit divides by 255 what it takes from a dataset, be it bytes or not.
  inputs = 255 * features(logits, label)
  data = Dataset(inputs, member.astype(jnp.int32), keep=use)
  model = Judge()
  init, step = learn.supervised(model, optimizers.adam(recipe.lr))
  start = init(learn.init_variables(k_init, data, model=model))
  return learn.fitted(
    fit, k_fit, step, start, data, recipe, name="membership"
  ).variables


def score(variables: Params, logits: Logits, label: Labels) -> Scores:
  """Returns the log-odds of membership [N].

  Args:
    logits: [N, classes], of the model under attack.
    label: [N].
  """
  odds, _ = Judge().apply(variables, features(logits, label))
  return odds[:, 1]
