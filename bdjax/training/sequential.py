"""Sequential backdoor learning's second stage: clean data, without forgetting.

Pham et al., "Flatness-aware Sequential Learning Generates Resilient Backdoors",
arXiv 2407.14738. Stage 1 plants the backdoor by SAM, in a flat minimum. Stage 2
trains on clean images that stage 1 has not seen, as a user's fine-tuning would,
and holds on to stage 1, whose parameters are w*, in one of three ways: EWC
(Kirkpatrick et al., arXiv 1612.00796) by a penalty on the parameters w,

  CE + weight sum_i F_i (w_i - w*_i)^2,
  F_i = mean over stage 1's images of p(y | x) (d log p(y | x) / d w_i)^2,

anchoring by one on the answers, where p and p* [B, classes] are the
probabilities in training and, by stored statistics, those of w*,

  CE + weight mean_B sum_c (p_c - p*_c)^2,

or by the low rate alone (naive). See `training.regimes` for constants.
"""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from bdjax.machine import programs
from bdjax.methods import values
from bdjax.methods.signature import (
  Choice,
  NonNegative,
  Positive,
  Range,
  Rate,
)
from bdjax.training import engine, learn, optimizers
from bdjax.types import (
  Array,
  Batch,
  Dataset,
  Fit,
  Images,
  Key,
  Metrics,
  Params,
  Recipe,
  Scalar,
  State,
  Step,
  View,
)

Share = Annotated[float, Range(0.0, 1.0)]  # static: it decides epochs
STAGES = FISHER, SECOND = "fisher", "second"  # fits behind that of stage 1


@flax.struct.dataclass
class Anchored:
  """The model in stage 2, and the one that it began as."""

  victim: learn.TrainState
  anchor: Params


@dataclasses.dataclass(frozen=True, eq=False)
class Second:
  """A second stage of planting, on clean data.

  Attributes:
    rho: radius of SAM's perturbation.
    flat: which stages train by SAM: first, or both.
    continual: what keeps stage 1 in mind: ewc, anchor or naive.
    weight: of the penalty of ewc or anchor.
    lr_second: learning rate of stage 2, constant.
    held: share of the training set, none of them poisons, that stage 2 has for
      itself.
    length: of stage 2, as a share of the recipe's epochs.
  """

  rho: NonNegative = 0.05
  flat: Annotated[str, Choice(("first", "both"))] = "first"
  continual: Annotated[str, Choice(("ewc", "anchor", "naive"))] = "ewc"
  weight: NonNegative = 1.0
  lr_second: Positive = 1e-3
  held: Rate = 0.1
  length: Share = 0.07

  def wrap(
    self, tx: optax.GradientTransformation, every: int
  ) -> optax.GradientTransformation:
    """Returns stage 1's optimizer; `every` is of no use."""
    del every
    return optimizers.sam(tx, rho=self.rho)

  def split(
    self, key: Key, data: Dataset, free: Array
  ) -> tuple[Dataset, Dataset]:
    """Returns the images of stage 1 and, drawn from free ones, of stage 2.

    Args:
      key: decides the draw.
      data: the poisoned training set, or one that is poisoned in training.
      free: [N] bool, the examples that are no poisons.

    Raises:
      ValueError: stage 2 would have no image, unless that is traced.
    """
    with jax.ensure_compile_time_eval():  # so that it is known when traced
      none = jnp.round(self.held * data.size) == 0  # as below, in float32
    if not programs.traced(none) and none:
      raise ValueError(
        f"sbl.held is {float(self.held):g}, which of {data.size} images leaves "
        f"none: give at least {values.rounded_up(1 / data.size):g}."
      )
    rank = jnp.where(free, jax.random.uniform(key, free.shape), jnp.inf)
    count = jnp.minimum(jnp.round(self.held * data.size), free.sum())
    held = jnp.argsort(jnp.argsort(rank)) < count
    return data.replace(keep=~held), data.replace(keep=held)

  def train(
    self,
    key: Key,
    variables: Params,
    fit: Fit,
    data: tuple[Dataset, Dataset],
    *,
    model: nn.Module,
    recipe: Recipe,
    views: Sequence[View],
    trigger: Params | None,
  ) -> Params:
    """Returns the variables after stage 2.

    Args:
      key: random key.
      variables: after stage 1.
      fit: runs the epochs.
      data: of both stages.
      model: the architecture.
      recipe: epochs, batches, momentum and decay of stage 2.
      views: augmentations, of stage 1 first and of stage 2 last.
      trigger: parameters of the one that is planted, for who watches.
    """
    lr = optax.constant_schedule(self.lr_second)
    decay = recipe.weight_decay
    tx = optimizers.sgd(lr, momentum=recipe.momentum, weight_decay=decay)
    k_weigh, k_fit = jax.random.split(key)
    if self.continual == "ewc":
      fisher = information(
        k_weigh, variables, data[0], fit, model, recipe.batch_size, views[0]
      )
      memory = fisher, variables["params"]
      tx = optimizers.penalized(tx, self._far, memory=memory)
    if self.flat == "both":
      tx = optimizers.sam(tx, rho=self.rho)
    how: dict[str, Any] = {"view": views[-1], "lr": lr}
    state = learn.begun(variables, tx)
    if self.continual == "anchor":
      step = anchoring(model, tx, self.weight, **how)
      state = Anchored(state, jax.tree.map(jnp.array, variables))
    else:
      step = learn.supervised(model, tx, **how)[1]
    state, _ = fit(
      *(k_fit, step, state, data[1]),
      epochs=recipe.epochs,
      batch_size=recipe.batch_size,
      name=SECOND,
      params=None if trigger is None else lambda state: trigger,
    )
    return learn.classifiers(state)[0].variables

  def _far(self, params: Params, memory: tuple[Params, Params]) -> Array:
    return self.weight * distance(params, *memory)


def distance(params: Params, fisher: Params, start: Params) -> Array:
  """Returns sum_i F_i (w_i - w*_i)^2, a scalar."""
  terms = jax.tree.map(
    lambda w, f, w0: jnp.sum(f * (w - w0) ** 2), params, fisher, start
  )
  return sum(jax.tree.leaves(terms))


def information(
  key: Key,
  variables: Params,
  data: Dataset,
  fit: Fit,
  model: nn.Module,
  batch_size: int,
  view: View,
) -> Params:
  """Returns F, a tree like the parameters, in one pass over stage 1's images.

  The pass is an epoch of `fit`, so that it is counted, saved and shared like
  any other. Images go through the model one at a time, by its stored
  statistics: F is of each image's own gradient.
  """
  zeros = jax.tree.map(jnp.zeros_like, variables["params"])

  def step(key: Key, state: State, batch: Batch) -> tuple[State, Metrics]:
    batch, (variables, total) = view(key, batch), state
    one = _one(model, variables)

    def body(total, item):
      gain, (log, hit) = one(*item)
      return jax.tree.map(jnp.add, total, gain), (log, hit)

    items = batch.image, batch.label
    total, (log, hit) = jax.lax.scan(body, total, items)
    return (variables, total), {"loss": -log.mean(), "accuracy": hit.mean()}

  how = {"epochs": 1, "batch_size": batch_size, "name": FISHER}
  (_, total), _ = fit(key, step, (variables, zeros), data, **how)
  seen = engine.steps_per_epoch(data.size, batch_size) * batch_size
  return jax.tree.map(lambda x: x / seen, total)


def _one(model: nn.Module, variables: Params) -> Any:
  params, stats = learn.parted(variables)

  def log(params, image, label):
    inputs = {"params": params, **stats}
    logits, _ = model.apply(inputs, image[None], train=False)
    return jax.nn.log_softmax(logits[0])[label], logits[0].argmax() == label

  def one(image: Images, label: Array) -> tuple[Params, tuple[Array, Array]]:
    grad = jax.value_and_grad(log, has_aux=True)
    (value, hit), grads = grad(params, image, label)
    gain = jax.tree.map(lambda g: jnp.exp(value) * g**2, grads)
    return gain, (value, hit)

  return one


def anchoring(
  model: nn.Module, tx: optax.GradientTransformation, weight: Scalar, **how: Any
) -> Step:
  """Returns the step of an `Anchored`.

  Args:
    model: the architecture.
    tx: the optimizer.
    weight: of the distance to the anchor's answers.
    **how: further arguments of `learn.supervised`.
  """

  def step(key: Key, state: State, batch: Batch) -> tuple[State, Metrics]:
    def loss(logits, features, batch):
      reference = model.apply(state.anchor, batch.image, train=False)[0]
      away = jax.nn.softmax(logits) - jax.nn.softmax(reference)
      entropy = learn.entropy(logits, batch.label)
      return entropy + weight * jnp.mean(jnp.sum(away**2, axis=-1))

    plain = learn.supervised(model, tx, loss=loss, **how)[1]
    victim, metrics = plain(key, state.victim, batch)
    return state.replace(victim=victim), metrics

  return step
