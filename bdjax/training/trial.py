"""A few training steps to be timed: plain SGD on blank images."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from bdjax.data import augment
from bdjax.training import learn, optimizers
from bdjax.types import Dataset, Key, Step, View


class Trial(NamedTuple):
  """What an epoch of a few steps takes.

  Attributes:
    key: of the epoch.
    state: a fresh classifier in training.
    step: trains it.
    data: blank images, as many as the steps see.
  """

  key: Key
  state: learn.TrainState
  step: Step
  data: Dataset


def trial(
  model: nn.Module,
  shape: tuple[int, ...],
  *,
  batch_size: int,
  steps: int,
  view: View = augment.identity,
) -> Trial:
  """Returns the trial of a model.

  Args:
    shape: H, W and C of its images.
  """
  count, key = batch_size * steps, jax.random.key(0)
  image = jnp.zeros((count, *shape), jnp.uint8)
  data = Dataset(image, jnp.zeros(count, jnp.int32))
  init, step = learn.supervised(model, optimizers.sgd(0.01), view=view)
  variables = learn.init_variables(key, data, model=model)
  return Trial(key, init(variables), step, data)


def seconds(call: Callable[..., Any], *args: Any) -> float:
  """Returns how long a call takes until its whole result is there."""
  start = time.perf_counter()
  jax.block_until_ready(call(*args))
  return time.perf_counter() - start
