"""Images that a model takes for other classes: whose, how far, how surely."""

import jax
import jax.numpy as jnp

from bdjax.types import Array, Labels, Logits, Scalar

CERTAIN = 1.0001 + 1e-12  # for 1 in log(1 - p), as in the authors' codes
SHORT = 1e-12  # a change that is shorter has no direction


def likeliest_wrong(logits: Logits, label: Labels) -> Labels:
  """Returns the likeliest class of each image that is not its label, [B]."""
  right = jax.nn.one_hot(label, logits.shape[-1], dtype=bool)
  return jnp.where(right, -jnp.inf, logits).argmax(-1)


def against(logits: Logits, which: Labels) -> Array:
  """Returns the mean of -log(1 - p), p being the probabilities of classes.

  Args:
    logits: [B, classes].
    which: the class of each image, [B].
  """
  p = jax.nn.softmax(logits)
  chosen = jnp.take_along_axis(p, which[:, None], -1)
  return -jnp.mean(jnp.log(CERTAIN - chosen))


def length(delta: Array) -> Array:
  """Returns the Euclidean length of each image's change, [B, 1, 1, 1]."""
  return jnp.sqrt(jnp.sum(delta**2, (1, 2, 3), keepdims=True))


def shortened(delta: Array, radius: Scalar) -> Array:
  """Returns changes of images [B, H, W, C], each in a ball around zero."""
  return delta * jnp.minimum(1, radius / jnp.maximum(length(delta), SHORT))
