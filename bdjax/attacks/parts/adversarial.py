"""Images that a classifier finds hard: projected gradient ascent on its loss.

Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks",
arXiv 1706.06083. From an image x itself, again and again

  x' <- clip(x + P(x' + step d - x), 0, 1)

where d is the direction in which the cross-entropy with the label grows. In the
largest norm (linf) d is the gradient's sign and P cuts entries off at -/+ eps;
in the Euclidean norm (l2) d is the gradient over its length and P shortens what
is longer than eps over the whole image.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from bdjax.attacks.parts import joint
from bdjax.training import learn
from bdjax.training.adversarial import SHORT, length, shortened
from bdjax.types import (
  Array,
  Batch,
  Fit,
  Images,
  Key,
  Labels,
  Metrics,
  Params,
  Regime,
  Scalar,
  State,
  Task,
)

NORMS = ("linf", "l2")


class Ascent(NamedTuple):
  """How far images are pushed.

  Attributes:
    eps: bound on the perturbation, in units of [0, 1].
    step: length of a step, in the same units.
    rounds: steps.
    norm: one of `NORMS`, of both.
  """

  eps: Scalar
  step: Scalar
  rounds: int
  norm: str = "linf"


def harder(
  model: nn.Module,
  variables: Params,
  images: Images,
  label: Labels,
  ascent: Ascent,
) -> Images:
  """Returns images that a classifier, as deployed, finds hard to label."""

  def loss(x):
    logits, _ = model.apply(variables, x, train=False)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, label)
    return losses.sum()  # so that no image's gradient depends on the others

  def body(_, x):
    push = x + ascent.step * _direction(jax.grad(loss)(x), ascent.norm)
    push = _projected(push - images, ascent)
    return jnp.clip(images + push, 0, 1)

  return jax.lax.fori_loop(0, ascent.rounds, body, images)


def _direction(slope: Array, norm: str) -> Array:
  if norm == "linf":
    return jnp.sign(slope)
  return slope / jnp.maximum(length(slope), SHORT)


def _projected(push: Array, ascent: Ascent) -> Array:
  if ascent.norm == "linf":
    return jnp.clip(push, -ascent.eps, ascent.eps)
  return shortened(push, ascent.eps)


def robust_classifier(key: Key, task: Task, fit: Fit, ascent: Ascent) -> Params:
  """Returns a classifier that is trained on images hard for itself.

  It takes `ascent.rounds` + 1 passes for each of the recipe's.

  Args:
    key: random key.
    task: model, data, recipe and view; its regime plays no part.
    fit: runs the epochs.
    ascent: how hard the images of each step are made.
  """
  k_init, k_fit = jax.random.split(key)
  training = joint.training(task, regime=Regime())
  model = task.model

  def step(key: Key, state: State, batch: Batch) -> tuple[State, Metrics]:
    def view(key: Key, batch: Batch) -> Batch:
      seen = task.view(key, batch)
      hard = harder(model, state.variables, seen.image, seen.label, ascent)
      return seen._replace(image=hard)

    plain = learn.supervised(model, training.tx, view=view, lr=training.lr)[1]
    return plain(key, state, batch)

  start = training.start(learn.init_variables(k_init, task.train, model=model))
  how = {"epochs": training.epochs, "name": "robust"}
  return joint.fitted(fit, k_fit, task, step, start, **how).variables
