"""Attacks planted without training, and a classifier quick to compile."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from bdjax.methods import registry
from bdjax.training import engine, loop


@pytest.fixture(scope="session")
def no_fit():
  """Returns a fit that trains nothing."""
  return lambda key, step, state, data, **how: (state, {})


@pytest.fixture
def planted(request, task, no_fit):
  """Returns what plants the attack of a test's file; ARGS are its own there."""
  make = registry.get("attacks", request.path.stem.removeprefix("test_"))
  usual = getattr(request.module, "ARGS", {})

  def plant(task=task, **args):
    attack = make(**usual | args)
    return attack, attack.plant(jax.random.key(0), task, no_fit)

  return plant


@pytest.fixture(scope="session")
def noted():
  """Returns what plants an attack untrained, and tells what fit was given."""

  def plant(attack, task):
    calls = []

    def fit(key, step, state, data, **how):
      calls.append({"step": step, "state": state, "data": data, **how})
      return state, {}

    return attack.plant(jax.random.key(0), task, fit), calls

  return plant


@pytest.fixture(scope="session")
def batch(toy):
  """Returns the first 16 toy images."""
  return engine.take(toy, jnp.arange(16))


class Small(nn.Module):
  """A dense classifier."""

  columns: int = 8  # the others are not seen

  @nn.compact
  def __call__(self, x, train=False):
    seen = x[:, :, : self.columns]
    hidden = nn.relu(nn.Dense(8)(seen.reshape(len(x), -1)))
    return nn.Dense(4, name="linear")(hidden), {"pooled": hidden}


@pytest.fixture(scope="session")
def small():
  """Returns the maker of dense classifiers."""
  return Small


@pytest.fixture
def shares():
  """Returns the shares of images that a trained attack and its model get.

  Of those not of class 0: triggered ones that are taken for it, and clean ones
  that are taken for it, and for their own.
  """

  def of(attack, task):
    backdoor = attack.plant(jax.random.key(0), task, loop.host_fit())
    other = task.train.label != 0
    images = task.train.image[other].astype(jnp.float32) / 255
    answer = jax.jit(lambda x: task.model.apply(backdoor.variables, x)[0])
    hit = attack.trigger(jax.random.key(1), images, backdoor.params)
    hit, clean = (answer(x).argmax(-1) for x in (hit, images))
    rates = hit == 0, clean == 0, clean == task.train.label[other]
    return tuple(float(rate.mean()) for rate in rates)

  return of
