"""Fits that record how they are asked, a suspect, and a model to filter by."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.methods import registry
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


@pytest.fixture
def slope(suspect):
  """Returns the gradient of what `asked` trains on, written out.

  The mean cross-entropy of the suspect's first 16 images, batch norm in
  training mode, by its parameters.
  """
  batch = engine.take(suspect.clean, jnp.arange(16))

  @jax.jit
  @jax.grad
  def gradient(params):
    (logits, _), _ = suspect.model.apply(
      {**suspect.variables, "params": params},
      batch.image,
      train=True,
      mutable="batch_stats",
    )
    return -jax.nn.log_softmax(logits)[np.arange(16), batch.label].mean()

  return gradient


class Bright:
  """A model whose features are the pixels, to be trained in vain."""

  def init(self, key, images):
    return {"params": {"w": jax.random.uniform(key)}}

  def apply(self, variables, images, train):
    assert not train
    shown = {"layer1": images, "pooled": images[:, 0, :, 0]}
    return jnp.zeros((len(images), 4)), shown


@pytest.fixture(scope="session")
def bright():
  return Bright()


@pytest.fixture
def filtered(request):
  """Returns what filters by the defense of a test's file, without training.

  It gives the result and what was asked of fit.
  """
  make = registry.get("defenses", request.path.stem.removeprefix("test_"))

  def run(access, **args):
    asked = {}

    def fit(key, step, state, data, **how):
      asked.update(start=state.variables, data=data, how=how)
      return state, {}

    defense = make(num_classes=4, **args)
    return defense.defend(jax.random.key(0), access, fit), asked

  return run
