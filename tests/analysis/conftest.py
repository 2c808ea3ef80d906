"""What is looked at in these tests: toy images, inverted as a trigger."""

import jax
import jax.numpy as jnp
import pytest

from bdjax.analysis.scores import Probe
from bdjax.training import learn
from bdjax.types import Dataset


@pytest.fixture(scope="session")
def probe(toy) -> Probe:
  """Returns toy images beside their negatives, which are to be of class 0."""
  hit = Dataset(255 - toy.image, jnp.zeros_like(toy.label))
  return Probe(toy, hit)


@pytest.fixture(scope="session")
def pair(toy, model):
  """Returns the variables of two models."""
  return [
    learn.init_variables(jax.random.key(i), toy, model=model) for i in (0, 1)
  ]
