"""SimCLR: an encoder learns to recognize an image under two distortions.

Chen et al., "A Simple Framework for Contrastive Learning of Visual
Representations" (ICML 2020, arXiv 2002.05709). Two random views of each of B
images pass through encoder and projection head; with z_i of length 1 and its
partner's z_p(i), the loss (NT-Xent, equation 1) is the mean over all 2B of

  -log exp(z_i . z_p(i) / t) / sum over k != i of exp(z_i . z_k / t)

Defaults are those of BadEncoder's pre-training code (Jia et al., arXiv
2108.00352): t = .5, Adam at a constant .001 with decay 1e-6, batch 256, 1,000
epochs. Sha et al. (arXiv 2212.09067, supplement A.2) say 3e-4.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from bdjax.data import distort
from bdjax.models.parts import heads
from bdjax.training import learn, optimizers
from bdjax.types import (
  Array,
  Dataset,
  Fit,
  Key,
  Params,
  Recipe,
  Scalar,
  Step,
  View,
)


def nt_xent(z: Array, temperature: Scalar) -> tuple[Array, Array]:
  """Returns the loss, and the share of views whose partner is the nearest.

  Args:
    z: [2B, C]; row i and row i + B are views of one image.
    temperature: divides cosines.
  """
  count = z.shape[0]
  z = heads.unit(z)
  alike = z @ z.T / temperature
  alike = jnp.where(jnp.eye(count, dtype=bool), -jnp.inf, alike)
  partner = (jnp.arange(count) + count // 2) % count
  loss = optax.softmax_cross_entropy_with_integer_labels(alike, partner)
  return loss.mean(), jnp.mean(alike.argmax(-1) == partner)


def contrastive(
  model: nn.Module,
  tx: optax.GradientTransformation,
  *,
  view: View,
  temperature: Scalar,
) -> Step:
  """Returns the training step on a `learn.TrainState`; labels play no part.

  Args:
    model: an encoder under its projection head.
    view: distorts a batch, anew for each of the two views.
  """

  def step(key, state, batch):
    pair = [view(k, batch).image for k in jax.random.split(key)]
    params, stats = learn.parted(state.variables)

    def objective(params):
      (z, _), new = learn.forward(model, params, stats, jnp.concatenate(pair))
      loss, accuracy = nt_xent(z, temperature)
      return loss, (accuracy, new)

    grad = jax.value_and_grad(objective, has_aux=True)
    (loss, (accuracy, new)), grads = grad(params)
    after = learn.advance(state, grads, new, tx)
    return after, {"loss": loss, "accuracy": accuracy}

  return step


def pretrain(
  key: Key,
  data: Dataset,
  fit: Fit,
  recipe: Recipe,
  *,
  encoder: nn.Module,
  temperature: Scalar,
  name: str = "simclr",
) -> Params:
  """Returns the variables of an encoder trained without labels.

  Args:
    recipe: how it is trained, by Adam at a constant rate; each image of a batch
      is seen in two views.
  """
  k_init, k_fit = jax.random.split(key)
  model = heads.Headed(encoder, heads.Projection())
  decay = recipe.weight_decay
  tx = optimizers.adam(recipe.lr, momentum=recipe.momentum, weight_decay=decay)
  variables = learn.init_variables(k_init, data, model=model)
  step = contrastive(model, tx, view=distort.simclr(), temperature=temperature)
  start = learn.begun(variables, tx)
  state = learn.fitted(fit, k_fit, step, start, data, recipe, name=name)
  return heads.backbone(state.variables)
