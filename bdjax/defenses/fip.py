"""FIP: fine-tuning to a smoother minimum, by the Fisher information.

Karim et al., "Fisher Information guided Purification against Backdoor Attacks",
arXiv 2409.00863. With per-image losses l_i = -log p(y_i | x_i), weights w [P]
and those of the suspect w0 [P], over the clean images,

    min  mean l + eta_f Tr F(w) + eta_r / 2 sum_j F0_j (w_j - w0_j)^2

- Tr F = mean |dl_i/dw|^2, the trace of the Fisher information, which is large
  in sharp minima. It takes a gradient of each image; a step estimates it by
  T = |d(sum_i r_i l_i)/dw|^2 / B over its batch of B, with signs r_i drawn
  anew: the mean of T over the signs is Tr F. So it costs one more gradient, of
  the batch, and a derivative of that, in every fifth step only (the first and
  each fifth from there), as in the authors' code.
- F0 [P] is the diagonal of the suspect's Fisher information, the mean of
  (dl_i/dw)^2, which takes one pass at the beginning. It holds those weights
  that clean images need.

Batch norm is in training mode in a step, and in evaluation mode, without
augmentation, in F0. SGD's momentum gets the sum of all three gradients.

The objective is as the paper's abstract and the terms of the authors' code have
it: the paper itself was not at hand. Constants are those of that code
(src/Regularizer.py and src/Remove_Backdoor_FIP.py): eta_r 5, SGD at a constant
.005, momentum .95, no weight decay, batch 128. Chosen here are eta_f, whose
numbers there (.5 and .01) are of another quantity, see below, and 100 epochs,
as of `ft`. At .5 a small ResNet9 lost all that it knew in 20 epochs. Presets:

- `official`: 2,000 steps with 1 % clean images, 500 of CIFAR-10, of which four
  batches are an epoch.

Deviations: that code's trace is no trace but a product of one gradient with
random normal vectors, whose mean is zero; its gradients and its F0, a squared
mean and not a mean of squares, are of log p(y_j | x_i) over all pairs of i and
j; and its third term is commented out. None of it is reproduced, nor is Fast
FIP, which tunes singular values alone. Its batches are drawn with replacement.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from bdjax.defenses.parts import tuning
from bdjax.machine import programs
from bdjax.machine.keys import key_for
from bdjax.methods.signature import Count, NonNegative, Training, validated
from bdjax.training import engine, learn, optimizers
from bdjax.types import (
  Access,
  Array,
  Dataset,
  Defended,
  Defense,
  Params,
  Recipe,
  Scalar,
  Schedule,
  Step,
)

PRESETS = {"official": {"clean_rate": 0.01, "epochs": 500, "batch_size": 128}}
TOGETHER = 8  # images whose gradients are held at once


@validated
def make(
  *,
  eta_f: NonNegative = 0.01,
  eta_r: NonNegative = 5.0,
  every: Count = 5,
  recipe: Training = Recipe(
    lr=0.005,
    epochs=100,
    batch_size=128,
    schedule="constant",
    momentum=0.95,
    weight_decay=0.0,
  ),
) -> Defense:
  """Returns the defense.

  Args:
    eta_f: weight of the trace of the Fisher information.
    eta_r: weight of the distance to the suspect.
    every: steps from one estimate of the trace to the next.
    recipe: of training on the clean subset.
  """

  def far(params, memory):
    fisher, start = memory
    terms = jax.tree.map(
      lambda w, f, w0: jnp.sum(f * (w - w0) ** 2), params, fisher, start
    )
    return eta_r / 2 * sum(jax.tree.leaves(terms))

  def defend(key, access, fit):
    fisher = programs.jit(
      lambda variables, data: information(access.model, variables, data)
    )(access.variables, access.clean)
    memory = (fisher, access.variables["params"])
    tx, lr = tuning.stepping(access, recipe)
    tx = optimizers.penalized(tx, far, memory=memory)
    state = learn.fitted(
      fit,
      key,
      smoothing(access, tx, lr, eta_f=eta_f, every=every),
      learn.begun(access.variables, tx),
      access.clean,
      recipe,
      name="fip",
    )
    return Defended(state.variables)

  return Defense(defend)


def smoothing(
  access: Access,
  tx: optax.GradientTransformation,
  lr: Schedule,
  *,
  eta_f: Scalar,
  every: int,
) -> Step:
  """Returns a step of fine-tuning that also lowers the trace.

  Args:
    access: its model is trained and its augmentation used.
    tx: the optimizer.
    lr: the rate that it uses, to report it.
    eta_f: weight of the trace.
    every: steps from one estimate of the trace to the next.
  """

  def step(key, state, batch):
    batch = access.view(key, batch)
    k_signs, k_drop = key_for(key, "signs"), key_for(key, "dropout")
    signs = jax.random.rademacher(k_signs, batch.label.shape, jnp.float32)
    params, stats = learn.parted(state.variables)

    def losses(params):
      (logits, _), new = learn.forward(
        access.model, params, stats, batch.image, key=k_drop
      )
      return entropies(logits, batch.label), (logits, new)

    def objective(params):
      each, more = losses(params)
      return each.mean(), more

    grad = jax.value_and_grad(objective, has_aux=True)
    (value, (logits, new)), grads = grad(params)
    flatter = jax.lax.cond(
      state.step % every == 0,
      jax.grad(lambda params: trace(lambda w: losses(w)[0], params, signs)),
      lambda params: jax.tree.map(jnp.zeros_like, params),
      params,
    )
    grads = jax.tree.map(lambda g, more: g + eta_f * more, grads, flatter)
    after = learn.advance(state, grads, new, tx)
    return after, learn.report(value, logits, batch.label, state.step, lr)

  return step


def trace(
  losses: Callable[[Params], Array], params: Params, signs: Array
) -> Array:
  """Returns an estimate of the trace of the Fisher information, a scalar.

  Args:
    losses: parameters -> -log p(y_i | x_i), [B].
    params: where it is estimated.
    signs: [B], 1 or -1; over all of them the mean of estimates is the trace.
  """
  slope = jax.grad(lambda w: jnp.sum(signs * losses(w)))(params)
  return optax.tree.norm(slope, squared=True) / signs.size


def information(model: nn.Module, variables: Params, data: Dataset) -> Params:
  """Returns the diagonal of a model's Fisher information.

  The mean over images of the squared gradient of log p(label | image), in
  evaluation mode; a tree like the parameters.

  Args:
    model: the architecture.
    variables: of the model.
    data: images with labels.
  """
  params, stats = learn.parted(variables)
  size = min(TOGETHER, data.size)
  steps = -(-data.size // size)
  flat = engine.rows(data)

  def loss(params, image, label):
    state = {"params": params, **stats}
    logits, _ = model.apply(state, image[None], train=False)
    return entropies(logits, label[None])[0]

  def add(total, index):
    batch = engine.take(flat, jnp.minimum(index, data.size - 1))
    slopes = jax.vmap(jax.grad(loss), (None, 0, 0))(
      params, batch.image, batch.label
    )
    there = jnp.where(index < data.size, 1.0, 0.0)
    squares = jax.tree.map(
      lambda x: jnp.tensordot(there, x * x, axes=1), slopes
    )
    return jax.tree.map(jnp.add, total, squares), None

  index = jnp.arange(steps * size).reshape(steps, size)
  total, _ = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), index)
  return jax.tree.map(lambda x: x / data.size, total)


def entropies(logits: Array, label: Array) -> Array:
  """Returns the cross-entropy of each image, [B]."""
  return optax.softmax_cross_entropy_with_integer_labels(logits, label)
