"""Random keys by purpose.

For JAX's default keys `fold_in(key, i)` is `split(key, n)[i]`: who folds small
numbers into a key and also splits it, or hands it to a view that does, draws
twice from the same child. A purpose's number is far beyond any split.
"""

import zlib

import jax

from bdjax.types import Key


def key_for(key: Key, purpose: str) -> Key:
  """Returns the key of one purpose under a key that has several."""
  return jax.random.fold_in(key, zlib.crc32(purpose.encode()) & 0x7FFFFFFF)
