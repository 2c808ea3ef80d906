"""A fit that records how it is asked, and a suspect model."""

import jax
import pytest

from bdjax.training import engine, learn
from bdjax.types import Access


@pytest.fixture(scope="session")
def suspect(toy, model):
  variables = learn.init_variables(jax.random.key(0), toy, model=model)
  return Access(variables, toy, model=model)


@pytest.fixture
def asked():
  """Returns a fit that runs one step and notes what it was asked."""

  class Asked:
    def __call__(self, key, step, state, data, **how):
      self.data, self.how, self.rates = data, how, []
      batch = engine.take(data, jax.numpy.arange(16))
      run = jax.jit(step)
      for t in range(how["epochs"]):
        state, metrics = run(jax.random.fold_in(key, t), state, batch)
        self.rates.append(float(metrics["lr"]))
      return state, {}

  return Asked()
