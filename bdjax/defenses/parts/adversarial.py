"""Images that a model takes for other classes, within a Euclidean ball."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from bdjax.training import learn
from bdjax.types import Array, Images, Labels, Logits, Scalar


def likeliest_wrong(logits: Logits, label: Labels) -> Labels:
  """Returns the likeliest class of each image that is not its label, [B]."""
  right = jax.nn.one_hot(label, logits.shape[-1]) == 1
  return jnp.where(right, -jnp.inf, logits).argmax(-1)


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
  with the target, each followed by `shortened`.

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
    new = shortened(delta - step_size * jnp.sign(slope), radius)
    return jnp.where((place > 0) & (reached > enough), delta, new), None

  start = jnp.zeros_like(images)
  delta, _ = jax.lax.scan(descend, start, jnp.arange(steps))
  return jnp.clip(images + delta, 0, 1)


def shortened(delta: Array, radius: Scalar) -> Array:
  """Returns changes of images [B, H, W, C], each in a ball around zero."""
  size = jnp.sqrt(jnp.sum(delta**2, (1, 2, 3), keepdims=True))
  return delta * jnp.minimum(1, radius / size)
