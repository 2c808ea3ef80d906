"""Who is poisoned: roles of training examples, drawn without replacement."""

import jax
import jax.numpy as jnp

from bdjax.types import CLEAN, COVER, POISON, Array, Key, Labels, Scalar


def count(rate: Scalar, size: int) -> Array:
  """Returns round(rate * size), as float32 has it; a half goes to even."""
  return jnp.round(rate * size)


def choose(
  key: Key, label: Labels, rate: Scalar, *, only: Array | None = None
) -> Array:
  """Draws who is poisoned: round(rate * N) examples, without replacement.

  Args:
    key: random key.
    label: [N].
    rate: share of the whole set, even when `only` narrows the candidates.
    only: [N] bool, the candidates; None for all, the target class included.

  Returns:
    [N] int8 roles, POISON or CLEAN.
  """
  drawn = _drawn(key, label.size, rate, only)
  return jnp.where(drawn, POISON, CLEAN).astype(jnp.int8)


def covered(key: Key, role: Array, rate: Scalar, *, only: Array) -> Array:
  """Returns roles [N] with round(rate * N) covers among the candidates.

  Args:
    key: random key.
    role: [N] int8.
    rate: share of the whole set.
    only: [N] bool, the candidates.
  """
  drawn = _drawn(key, role.size, rate, only)
  return jnp.where(drawn, jnp.int8(COVER), role)


def _drawn(key: Key, size: int, rate: Scalar, only: Array | None) -> Array:
  rank = jax.random.uniform(key, (size,))
  if only is not None:
    rank = jnp.where(only, rank, jnp.inf)
  drawn = jnp.argsort(jnp.argsort(rank)) < count(rate, size)
  return drawn if only is None else drawn & only
