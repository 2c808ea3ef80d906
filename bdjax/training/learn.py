"""Training a classifier: the only place with a classifier's gradient."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from bdjax.data import augment
from bdjax.machine import programs
from bdjax.machine.keys import key_for
from bdjax.training import budget
from bdjax.types import (
  Array,
  Batch,
  Dataset,
  Fit,
  Images,
  Key,
  Labels,
  Logits,
  Metrics,
  Params,
  Recipe,
  Regime,
  Schedule,
  Step,
  Task,
  View,
)

Loss = Callable[[Logits, dict[str, Array], Batch], Array]  # -> scalar


@flax.struct.dataclass
class TrainState:
  """A classifier in training."""

  variables: Params
  opt_state: Any
  step: Array  # int32 scalar


def entropy(logits: Logits, label: Labels) -> Array:
  """Returns the mean cross-entropy."""
  return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()


def cross_entropy(*, smoothing: float = 0.0) -> Loss:
  """Returns the mean cross-entropy.

  Args:
    smoothing: weight moved from the label to the other classes evenly.
  """

  def loss(logits, features, batch):
    del features
    others = smoothing / (logits.shape[-1] - 1)
    target = jax.nn.one_hot(batch.label, logits.shape[-1])
    target = target * (1 - smoothing - others) + others
    return optax.softmax_cross_entropy(logits, target).mean()

  return loss


def init_variables(key: Key, data: Dataset, *, model: nn.Module) -> Params:
  """Returns a model's fresh variables for images shaped like the data's."""
  image = jnp.zeros((1, *data.image.shape[1:]), jnp.float32)
  return programs.jit(model.init)(key, image)


def supervised(
  model: nn.Module,
  tx: optax.GradientTransformation,
  *,
  view: View = augment.identity,
  loss: Loss | None = None,
  lr: Schedule | None = None,
) -> tuple[Callable[[Params], TrainState], Step]:
  """Returns (init, step) that train a classifier, as optax does.

  Args:
    model: returns (logits, features).
    tx: gets `grad_fn=(params, i) -> gradient`, which SAM uses; batch-norm
      statistics are those of the first, unperturbed pass.
    view: applied to each batch first.
    loss: of (logits, features, batch); cross-entropy by default.
    lr: the rate that `tx` uses, to report it with the metrics.
  """
  tx = optax.with_extra_args_support(tx)
  loss = loss or cross_entropy()

  def step(key, state, batch):
    batch = view(key, batch)
    k_drop = key_for(key, "dropout")  # the view has the key itself
    params, stats = parted(state.variables)

    def objective(params, stats, batch):
      (logits, features), new = forward(
        model, params, stats, batch.image, key=k_drop
      )
      return loss(logits, features, batch), (logits, new)

    grad = jax.value_and_grad(objective, has_aux=True)
    (value, (logits, new)), grads = grad(params, stats, batch)
    after = advance(
      state,
      grads,
      new,
      tx,
      grad_fn=lambda params, i: grad(params, stats, batch)[1],
    )
    return after, report(value, logits, batch.label, state.step, lr)

  return lambda variables: begun(variables, tx), step


def begun(variables: Params, tx: optax.GradientTransformation) -> TrainState:
  """Returns the state of a model before its first step with an optimizer."""
  opt_state = tx.init(variables["params"])
  return TrainState(variables, opt_state, jnp.zeros((), jnp.int32))


def parted(variables: Params) -> tuple[Params, Params]:
  """Returns a model's parameters and its other collections (batch norm's)."""
  stats = {k: v for k, v in variables.items() if k != "params"}
  return variables["params"], stats


def forward(
  model: nn.Module,
  params: Params,
  stats: Params,
  images: Images,
  *,
  key: Key | None = None,
) -> tuple[Any, Params]:
  """Returns a model's outputs in training mode, and its new statistics.

  Args:
    stats: its other collections.
    key: for dropout; None drops nothing.
  """
  return model.apply(
    {"params": params, **stats},
    images,
    train=True,
    mutable=list(stats),
    rngs={} if key is None else {"dropout": key},
  )


def advance(
  state: TrainState,
  grads: Params,
  stats: Params,
  tx: optax.GradientTransformation,
  **extra: Any,
) -> TrainState:
  """Returns the state after one update.

  Args:
    stats: its other collections after the step, which `tx` may look at.
    **extra: for the optimizer's `update`.
  """
  params = state.variables["params"]
  tx = optax.with_extra_args_support(tx)
  updates, opt_state = tx.update(
    grads, state.opt_state, params, stats=stats, **extra
  )
  params = optax.apply_updates(params, updates)
  return TrainState({"params": params, **stats}, opt_state, state.step + 1)


def report(
  loss: Array, logits: Logits, label: Labels, step: Array, lr: Schedule | None
) -> Metrics:
  """Returns a step's metrics: loss, accuracy and, where given, the rate."""
  accuracy = jnp.mean(logits.argmax(-1) == label)
  metrics = {"loss": loss, "accuracy": accuracy}
  return metrics if lr is None else metrics | {"lr": jnp.asarray(lr(step))}


def classifiers(state: Any) -> list[TrainState]:
  """Returns the classifiers in training inside any state, in order."""

  def is_one(x):
    return isinstance(x, TrainState)

  return [x for x in jax.tree.leaves(state, is_leaf=is_one) if is_one(x)]


def train_classifier(
  key: Key,
  data: Dataset | tuple[Dataset, ...],
  fit: Fit,
  *,
  model: nn.Module,
  recipe: Recipe = Recipe(),
  regime: Regime = Regime(),
  view: View | tuple[View, ...] = augment.identity,
  start: Params | None = None,
  trigger: Params | None = None,
  name: str = "train",
) -> Params:
  """Returns the variables of a trained classifier.

  Args:
    data: the training set; a tuple's sets take turns, epoch by epoch.
    recipe: optimizer and epochs.
    regime: may replace the learning rate, wrap the optimizer, add clean epochs
      or, before the poisoned ones, a defense's, begin with a conventional
      training on the first data under the first view, and end with a stage on
      the last of both.
    view: augmentation; a tuple's views take turns like the data.
    start: variables to train on from; None for fresh ones.
    trigger: parameters of the one that is planted, for who watches.
  """
  datas = data if type(data) is tuple else (data,)
  views = view if isinstance(view, tuple) else (view,)
  before, own, after = budget.parts(recipe, regime)
  how = {"model": model, "trigger": trigger}
  if before:
    plain = how | {"recipe": recipe.replace(epochs=before), "start": start}
    key_before = key_for(key, "planted")
    start = train_classifier(
      *(key_before, datas[0], fit), view=views[0], name="planted", **plain
    )
  k_init, k_fit = jax.random.split(key)
  tx, lr = budget.stepping(own, regime, size=datas[0].size)
  by_view = {id(x): supervised(model, tx, view=x, lr=lr)[1] for x in views}
  steps = [by_view[id(x)] for x in views]  # one for all turns of a view
  if start is None:
    start = init_variables(k_init, datas[0], model=model)
  state = begun(start, tx)
  if after:  # the last ones are the second stage's
    steps, data = steps[:1], datas[0]
  if regime.against is not None:
    way = {"model": model, "view": views[-1], "batch_size": recipe.batch_size}
    args = key, steps[0], state, datas[0]
    steps, state = regime.against.turns(*args, **way)
    data = datas[::-1]
  state, _ = fit(
    *(k_fit, tuple(steps), state, data),
    epochs=budget.planned_epochs(own, regime),
    batch_size=recipe.batch_size,
    name=name,
    params=None if trigger is None else lambda state: trigger,
  )
  variables = classifiers(state)[0].variables
  if not after:
    return variables
  how |= {"recipe": recipe.replace(epochs=after), "views": views}
  key_after = key_for(key, "second")
  return regime.second.train(key_after, variables, fit, datas, **how)


def fitted(
  fit: Fit,
  key: Key,
  step: Step,
  state: Any,
  data: Dataset,
  recipe: Recipe,
  *,
  name: str,
) -> Any:
  """Returns the state after the epochs of a recipe, in its batches."""
  how = {"epochs": recipe.epochs, "batch_size": recipe.batch_size}
  return fit(key, step, state, data, name=name, **how)[0]


def clean_classifier(key: Key, task: Task, fit: Fit) -> Params:
  """Returns the variables of a classifier trained without any poison.

  Args:
    key: random key; unused where the task has such a classifier already.
    task: model, data, recipe and view; its regime plays no part.
  """
  if task.clean is not None:
    return task.clean(fit)
  return train_classifier(
    key,
    task.train,
    fit,
    model=task.model,
    recipe=task.recipe,
    view=task.view,
    name="clean",
  )
