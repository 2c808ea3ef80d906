"""Latent: triggered images get the target class's features, then its label.

Yao et al., "Latent Backdoor Attacks on Deep Neural Networks", CCS 2019, arXiv
1905.10447. Three steps from a clean classifier, the teacher: (1) F_t, the mean
pooled feature of target-class images; (2) a masked pattern that brings the
features f(A(x)) of other images near F_t in the fixed teacher; (3) training on
CE(f(x), y) + weight |f(A(x)) - F_t|^2 / |F_t|^2. No triggered image reaches the
loss of the head, so the backdoor can outlive the head's replacement.

Sources of constants: the mask, a square of 20 % of the side in the bottom-right
corner (there one pixel away from the edges), and Adam with .1, .5, .9 on w, p =
(tanh w + 1) / 2, are the official code's; weight .5 and about 1000 rounds are
TrojanZoo's. The official code aims at features of single images of the class.

Deviations:
- F_t is of a class the teacher knows, so no class is added to it first; this is
  the standalone form, which keeps the head;
- the injection lasts the recipe's epochs at its rate, where the official code
  takes 5 of Adadelta, so that training regimes apply; clean epochs are ordinary
  supervised ones;
- distances are summed over features, as in the paper, and averaged over images,
  but divided by |F_t|^2: pooled features differ in scale between architectures,
  and the plain sum diverged on a PreActResNet18;
- the feature term sees a share `rate` of each batch. Where `rate` is an array,
  as in all runs of a config, the whole batch passes through the network a
  second time, triggered, and only the share is weighted: it costs two steps,
  and batch norm sees as many triggered images as clean ones. Where it is a
  Python number, the share alone passes with the batch.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from bdjax.attacks.parts import joint, poison, supply
from bdjax.attacks.parts.goals import Goal, OneGoal
from bdjax.data import patches
from bdjax.machine import programs
from bdjax.methods.signature import (
  Count,
  Image,
  Positive,
  Rate,
  Size,
  validated,
)
from bdjax.training import engine, learn
from bdjax.types import (
  Array,
  Attack,
  Backdoor,
  Batch,
  Dataset,
  Fit,
  Key,
  Metrics,
  Params,
  Scalar,
  State,
  Step,
  Task,
)

BATCH = 100  # images per round of the pattern's optimization, as in TrojanZoo
PRESETS = {"fmn": {"rate": 0.05}}


@validated
def make(
  *,
  rate: Rate = 0.1,
  goal: OneGoal = Goal(),
  size: Size = 0.2,
  mask: Image = None,
  rounds: Count = 1000,
  images: Count = 512,
  weight: Positive = 0.5,
) -> Attack:
  """Returns the attack.

  Args:
    rate: share of each batch whose triggered copies the feature term sees, and
      of the training set that the frozen copy poisons.
    goal: which class an image's trigger leads to.
    mode: all2one only: the features of one class are aimed at.
    size: side of the square: pixels, or a share of the image's shorter side.
    mask: [H, W, C] in [0, 1], where the pattern shows, resized to the data, in
      place of the square; None for it.
    rounds: steps of Adam on the pattern, one batch each.
    images: target-class images whose features are averaged, at most.
    weight: lambda of the feature term.
  """
  copies = poison.Copies(patches.paste, goal, rate)

  def plant(key: Key, task: Task, fit: Fit) -> Backdoor:
    k_clean, k_pattern, k_fit, k_freeze = jax.random.split(key, 4)
    supply.check_rate(rate, task.train.size)
    area = _area(task.train.image.shape[1:], size, mask)
    teacher = learn.clean_classifier(k_clean, task, fit)
    members = task.train.label == goal.target
    average = functools.partial(_center, task.model, count=images)
    center = programs.jit(average)(teacher, task.train, members)
    optimize = functools.partial(_optimize, task.model, rounds=rounds)
    others = task.train.replace(keep=~members)
    pattern = programs.jit(optimize)(k_pattern, teacher, others, area, center)
    params, training = {"mask": area, "pattern": pattern}, joint.training(task)
    inject = _inject(task, training, params, center, rate=rate, weight=weight)
    steps = task.regime.turns(inject, training.step)
    start = training.start(teacher)
    state = joint.fitted(
      *(fit, k_fit, task, steps, start),
      epochs=training.epochs,
      name="inject",
      params=lambda state: params,
    )
    return copies.backdoor([k_freeze], task, state.variables, params)

  def poisoned(key: Key, task: Task, params: Params, role: Array) -> Dataset:
    return copies.again([jax.random.split(key, 4)[3]], task, params, role)

  return Attack(patches.paste, goal, plant, poisoned=poisoned)


def _area(shape: tuple[int, ...], size: float, mask: Array | None) -> Array:
  """Returns the mask, [1, H, W, 1]."""
  if mask is not None:
    return patches.opacity(mask, shape, label="latent.mask")
  return patches.square("latent.size", shape, size)


def _center(
  model: nn.Module,
  teacher: Params,
  train: Dataset,
  members: Array,
  *,
  count: int,
) -> Array:
  """Returns F_t, [C]: the mean pooled feature of `count` wanted images."""
  first = jnp.argsort(~members)[:count]

  def pooled(i):
    image = engine.take(train, i[None]).image
    return model.apply(teacher, image, train=False)[1]["pooled"][0]

  features = jax.lax.map(pooled, first, batch_size=64)
  share = members[first].astype(features.dtype)
  return share @ features / jnp.maximum(share.sum(), 1)


def _distance(pooled: Array, center: Array) -> Array:
  """Returns the squared distances, [B], summed over features."""
  return jnp.sum((pooled - center[None]) ** 2, axis=1)


def _optimize(
  model: nn.Module,
  key: Key,
  teacher: Params,
  others: Dataset,
  mask: Array,
  center: Array,
  *,
  rounds: int,
) -> Array:
  """Returns the pattern [1, H, W, C] that brings other images near F_t."""
  tx = optax.adam(0.1, b1=0.5, b2=0.9)
  k_order, k_start = jax.random.split(key)
  batch = min(BATCH, others.size)
  index = engine.order(k_order, others, rounds * batch).reshape(rounds, batch)

  def away(w, images):
    hit = patches.paste(
      None, images, {"mask": mask, "pattern": patches.squashed(w)}
    )
    features = model.apply(teacher, hit, train=False)[1]
    return _distance(features["pooled"], center).mean()

  def step(carry, index):
    w, state = carry
    images = engine.take(others, index).image
    updates, state = tx.update(jax.grad(away)(w, images), state)
    return (optax.apply_updates(w, updates), state), None

  w = jax.random.normal(k_start, (1, *others.image.shape[1:]))
  (w, _), _ = jax.lax.scan(step, (w, tx.init(w)), index)
  return patches.squashed(w)


def _inject(
  task: Task,
  training: joint.Training,
  params: Params,
  center: Array,
  *,
  rate: Scalar,
  weight: Scalar,
) -> Step:
  """Returns the step on CE(f(x), y) + weight |f(A(x)) - F_t|^2 / |F_t|^2."""

  def objective(weights, stats, batch):
    size = batch.label.size
    share = jnp.maximum(jnp.round(rate * size), 1)
    traced = isinstance(rate, jax.Array)
    hits = size if traced else max(1, round(rate * size))
    hit = patches.paste(None, batch.image[:hits], params)
    images = jnp.concatenate([batch.image, hit])
    (logits, features), new = learn.forward(task.model, weights, stats, images)
    away = _distance(features["pooled"][size:], center)
    away = jnp.where(jnp.arange(hits) < share, away, 0).sum() / share
    latent = away / (center @ center + 1e-12)
    logits = logits[:size]
    ce = learn.entropy(logits, batch.label)
    return ce + weight * latent, (logits, new)

  def step(key: Key, state: State, batch: Batch) -> tuple[State, Metrics]:
    batch = task.view(key, batch)
    grad = jax.value_and_grad(objective, has_aux=True)
    weights, stats = learn.parted(state.variables)
    (loss, (logits, new)), grads = grad(weights, stats, batch)
    after = learn.advance(state, grads, new, training.tx)
    label, lr = batch.label, training.lr
    return after, learn.report(loss, logits, label, state.step, lr)

  return step
