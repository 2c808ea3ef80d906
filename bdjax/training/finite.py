"""Whether a model's numbers still are: one rule for all that is kept or scored.

Training that diverges leaves weights or statistics that are infinite or NaN.
Such a model would count as one that answers class 0: the accuracy of chance and
a perfect defense.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

DIVERGED = (
  "diverged: the weights are no longer finite numbers: lower lr, or leave this "
  "cell out."
)


def within(tree: Any) -> jax.Array:
  """Returns `finite` of a tree as an array, [], within a program."""
  kept = [jnp.isfinite(x).all() for x in _numbers(tree)]
  return jnp.array(kept, bool).all()


def finite(tree: Any) -> bool:
  """Returns whether all floating-point numbers of a tree are finite.

  On the host, where a program for each kind of tree is not worth compiling.
  """
  return all(np.isfinite(np.asarray(x)).all() for x in _numbers(tree))


def _numbers(tree: Any) -> list[jax.Array]:
  leaves = [jnp.asarray(x) for x in jax.tree.leaves(tree)]
  return [x for x in leaves if jnp.issubdtype(x.dtype, jnp.floating)]


def check(tree: Any) -> None:
  """Refuses a model that has diverged.

  Raises:
    FloatingPointError: with the remedy.
  """
  if not finite(tree):
    raise FloatingPointError(DIVERGED)
