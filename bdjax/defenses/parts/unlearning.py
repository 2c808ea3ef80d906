"""Clean images unlearned: up the cross-entropy, until few are right.

What reconstructive pruning (Li et al., arXiv 2305.14876) and two-stage defense
(Lin et al., arXiv 2405.20291) begin with, each at its own rate and stop.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from bdjax.training import learn, optimizers
from bdjax.types import (
  Access,
  Array,
  Dataset,
  Fit,
  Key,
  Params,
  Recipe,
  Scalar,
  Schedule,
  Step,
)


class Unlearning(NamedTuple):
  """A model on its way down; no `TrainState`, since nobody will use it."""

  params: Params
  opt_state: Any
  accuracy: Array  # scalar, of the last batch looked at; NaN before the first


def descend(
  key: Key,
  access: Access,
  data: Dataset,
  fit: Fit,
  recipe: Recipe,
  *,
  rate: Scalar | Schedule,
  stop: Scalar,
) -> Unlearning:
  """Returns the suspect after unlearning, in a stage named unlearn.

  Its accuracy is NaN if there was no epoch.

  Args:
    access: the suspect and its augmentation.
    data: clean images.
    recipe: of the ascent, without its rate and schedule.
    rate: of the ascent, in place of these.
    stop: accuracy at which the images count as unlearned.
  """
  tx = optimizers.sgd(
    rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
  )
  params = access.variables["params"]
  step = unlearn(access, tx, stop)
  start = Unlearning(params, tx.init(params), jnp.full((), jnp.nan))
  return learn.fitted(fit, key, step, start, data, recipe, name="unlearn")


def unlearn(
  access: Access, tx: optax.GradientTransformation, stop: Scalar
) -> Step:
  """Returns the step up the cross-entropy, which ends at the stop accuracy.

  All parameters are free, batch norm is in training mode and its running
  statistics stay. The first batch of which no more than `stop` is right moves
  nothing, nor does any after it: these cost a forward pass, but a whole step
  where several models are trained at once, under a vmap.
  """
  _, stats = learn.parted(access.variables)

  def loss(params, batch):
    (logits, _), _ = learn.forward(access.model, params, stats, batch.image)
    return -learn.entropy(logits, batch.label), logits

  def step(key, state, batch):
    batch = access.view(key, batch)

    def report(value, logits):
      accuracy = jnp.mean(logits.argmax(-1) == batch.label)
      return {"loss": -value, "accuracy": accuracy}

    def climb(state):
      grad = jax.value_and_grad(loss, has_aux=True)
      (value, logits), grads = grad(state.params, batch)
      updates, opt_state = tx.update(grads, state.opt_state, state.params)
      metrics = report(value, logits)
      accuracy = metrics["accuracy"]
      params = optax.apply_updates(state.params, updates)
      chosen = jax.tree.map(
        lambda old, new: jnp.where(accuracy <= stop, old, new),
        state._replace(accuracy=accuracy),
        Unlearning(params, opt_state, accuracy),
      )
      return chosen, metrics

    def rest(state):
      return state, report(*loss(state.params, batch))

    return jax.lax.cond(state.accuracy <= stop, rest, climb, state)

  return step
