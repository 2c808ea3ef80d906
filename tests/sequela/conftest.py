"""A few images with a trigger, and three models, to ask sequela of."""

import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.sequela import Remains
from bdjax.types import Dataset


@pytest.fixture(scope="session")
def lured():
  """Returns what makes the remains of a model that sequela with lures need."""

  def make(model, weights, *, classes, side):
    rng = np.random.default_rng(0)

    def data(size):
      image = rng.integers(60, 190, (size, side, side, 3)).astype(np.uint8)
      return Dataset(jnp.asarray(image), jnp.arange(size) % classes)

    def stamped(data):
      image = data.image.at[:, 0, 0].set(200)
      return Dataset(image, jnp.zeros_like(data.label))

    clean, test = data(30), data(24)
    return Remains(
      weights(1),
      clean,
      test,
      jnp.zeros(30, bool),
      clean,
      jnp.zeros(30, jnp.int8),
      hit=stamped(test),
      lure=stamped(clean),
      planted=weights(2),
      unplanted=weights(3),
      model=model,
    )

  return make
