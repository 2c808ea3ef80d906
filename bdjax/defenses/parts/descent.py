"""Descent to images that a model takes for given classes, in a ball."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from bdjax.training import adversarial, learn
from bdjax.types import Images, Labels, Logits, Scalar


def targeted(
  answer: Callable[[Images], Logits],
  images: Images,
  target: Labels,
  *,
  radius: Scalar,
  step_size: Scalar,
  steps: int,
  enough: float,
) -> Images:
  """Returns images in [0, 1], [B, H, W, C], moved towards given classes.

  From no change, steps against the sign of the gradient of the cross-entropy
  with the target, each cut to the ball.

  Args:
    answer: images -> logits.
    target: the class that each is led to.
    radius: of the change of an image, in Euclidean norm.
    step_size: in each pixel.
    steps: at most.
    enough: share of the batch that may reach its target before a further step.
  """

  def lost(delta):
    logits = answer(jnp.clip(images + delta, 0, 1))
    return learn.entropy(logits, target), jnp.mean(logits.argmax(-1) == target)

  def descend(delta, place):
    slope, reached = jax.grad(lost, has_aux=True)(delta)
    new = adversarial.shortened(delta - step_size * jnp.sign(slope), radius)
    return jnp.where((place > 0) & (reached > enough), delta, new), None

  start = jnp.zeros_like(images)
  delta, _ = jax.lax.scan(descend, start, jnp.arange(steps))
  return jnp.clip(images + delta, 0, 1)
