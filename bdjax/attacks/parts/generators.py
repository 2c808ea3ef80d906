"""How Input-aware's generators are trained: stage 1, and the optimizer of both.

Nguyen and Tran, arXiv 2010.08138. Stage 1 trains the generator that says where
triggers lie: masks of different images should differ and be small. Adam's
constants are the reference code's.
"""

import jax
import optax

from bdjax.attacks.parts import joint
from bdjax.models.parts import ushape
from bdjax.training import engine, learn
from bdjax.types import Fit, Key, Params, Task

MASK_DROPS = (10 / 25, 20 / 25)  # of the rate, in shares of the epochs


def train_mask(
  key: Key,
  nets: ushape.Pair,
  weights: ushape.Weights,
  task: Task,
  fit: Fit,
  epochs: int,
) -> Params:
  """Returns the variables of the mask generator."""
  k_init, k_fit = jax.random.split(key)
  tx = adam(task, MASK_DROPS, epochs)

  def step(key, state, batch):
    images = task.view(key, batch).image
    variables, opt_state = state
    params, stats = learn.parted(variables)

    def objective(params):
      output, new = learn.forward(nets.mask, params, stats, images)
      masks = ushape.harden(output)
      loss = ushape.mask_loss(nets.spread(images), masks, weights)
      return loss, (masks.mean(), new)

    grad = jax.value_and_grad(objective, has_aux=True)
    (loss, (area, new)), grads = grad(params)
    updates, opt_state = tx.update(grads, opt_state, params)
    params = optax.apply_updates(params, updates)
    return ({"params": params, **new}, opt_state), {"loss": loss, "area": area}

  variables = learn.init_variables(k_init, task.train, model=nets.mask)
  # Not a TrainState: a fit's probe takes those for classifiers.
  start = variables, tx.init(variables["params"])
  return joint.fitted(
    fit, k_fit, task, step, start, epochs=epochs, name="mask"
  )[0]


def adam(
  task: Task, drops: tuple[float, ...], epochs: int, *, adds_up: bool = False
) -> optax.GradientTransformation:
  """Returns the generators' optimizer; `drops` are shares of the epochs."""
  steps = epochs * engine.steps_per_epoch(
    task.train.size, task.recipe.batch_size
  )
  boundaries = {round(share * steps): 0.1 for share in drops}
  tx = optax.adam(
    optax.piecewise_constant_schedule(0.01, boundaries), b1=0.5, b2=0.9
  )
  return optax.chain(optax.trace(1.0), tx) if adds_up else tx
