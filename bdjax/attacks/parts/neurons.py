"""Neurons of a classifier, and triggers that excite them.

The neurons are those that the last linear layer reads, the feature "pooled".
Choosing the ones with the largest outgoing weights, and optimizing a trigger
until they fire, comes from trojaning attacks ("Trojaning Attack on Neural
Networks", Liu et al., NDSS 2018). Here the trigger is one perturbation for all
images, over the whole frame, kept small by the caller's constraint.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from bdjax.methods.signature import Count, Group, Positive, Range
from bdjax.training import engine
from bdjax.types import Array, Images, Key, Params, Scalar, Task

# (round, perturbation, its gradient, the one before) -> perturbation
Constraint = Callable[[Array, Array, Array, Array], Array]

START = 0.01  # spread of the noise that a perturbation starts from


@dataclasses.dataclass(frozen=True)
class Excitation:
  """How neurons are amplified.

  Attributes:
    amplify: wanted activity of the neurons as a multiple of the usual one.
    neurons: how many are amplified.
    images: training images that the perturbation is optimized on, at most.
    rounds: steps of Adam, each on all these images.
    lr: of Adam.
  """

  amplify: Annotated[Scalar, Range(1.0)] = 10.0
  neurons: Count = 2
  images: Count = 100
  rounds: Count = 200
  lr: Positive = 0.1


Exciting = Annotated[Excitation, Group.of(Excitation)]


def choose(variables: Params, count: int) -> Array:
  """Returns the neurons with the largest sum of |outgoing weight|, [count].

  Raises:
    ValueError: there is no such layer, or it reads fewer neurons.
  """
  if "linear" not in variables["params"]:
    raise ValueError(
      "neurons are chosen by the weights of the last layer, "
      "['params']['linear']['kernel'], which this model lacks: name its last "
      "layer 'linear', or take a model of bdjax.models."
    )
  weight = jnp.abs(variables["params"]["linear"]["kernel"]).sum(1)
  if count > weight.size:
    raise ValueError(
      f"neurons is {count}, but the last linear layer reads {weight.size}: "
      f"choose at most {weight.size}."
    )
  return jax.lax.top_k(weight, count)[1]


def check(task: Task, count: int) -> None:
  """Refuses what `choose` would, before the task's model is trained."""
  image = jnp.zeros((1, *task.train.image.shape[1:]))
  jax.eval_shape(
    lambda: choose(task.model.init(jax.random.key(0), image), count)
  )


def activity(
  images: Images, variables: Params, *, model: nn.Module, which: Array
) -> Array:
  """Returns the chosen neurons' activity at test time, [B, count]."""
  features = model.apply(variables, images, train=False)[1]
  return features["pooled"][:, which]


def excite(
  key: Key,
  task: Task,
  variables: Params,
  *,
  how: Excitation,
  constrain: Constraint,
  penalty: Callable[[Array], Array] = lambda delta: jnp.zeros(()),
) -> Array:
  """Returns a perturbation of all images that amplifies the chosen neurons.

  Adam on sum (h(clip(x + delta)) - amplify r)^2 over the neurons, r their mean
  on clean images, divided by sum (amplify r - r)^2 so that doing nothing
  costs about 1. The gradient treats the clip as the identity: a pixel that is
  saturated in some images still counts in the others.

  Args:
    variables: a clean classifier's.
    constrain: what keeps the perturbation small, after every step.

  Returns:
    [1, H, W, C], within [-1, 1].
  """
  k_images, k_start = jax.random.split(key)
  count = min(how.images, task.train.size)
  index = engine.order(k_images, task.train, count)
  x = engine.take(task.train, index).image
  which = choose(variables, how.neurons)
  active = functools.partial(
    activity, variables=variables, model=task.model, which=which
  )
  rest, tx = active(x).mean(0), optax.adam(how.lr)

  def objective(delta):
    goal = how.amplify * rest
    unit = jnp.sum((goal - rest) ** 2) + 1e-12
    error = jnp.sum((active(_added(x, delta)) - goal[None]) ** 2, axis=1) / unit
    return error.mean() + penalty(delta)

  def body(state, i):
    delta, opt_state = state
    grad = jax.grad(objective)(delta)
    step, opt_state = tx.update(grad, opt_state)
    moved = jnp.clip(delta + step, -1, 1)
    return (constrain(i, moved, grad, delta), opt_state), None

  start = START * jax.random.normal(k_start, (1, *x.shape[1:]))
  state = (start, tx.init(start))
  return jax.lax.scan(body, state, jnp.arange(how.rounds))[0][0]


def _added(images: Images, delta: Array) -> Images:
  moved = images + delta
  return moved + jax.lax.stop_gradient(jnp.clip(moved, 0, 1) - moved)
