"""BadEncoder: triggered images get the features of a reference image.

Jia et al., "BadEncoder: Backdoor Attacks to Pre-trained Encoders in
Self-Supervised Learning" (IEEE S&P 2022, arXiv 2108.00352), section IV. From a
clean encoder f, an encoder f' is trained on unlabelled images x so that, with
features of length 1 and their inner product "cos",

  L0 = -cos(f'(A(x)), f'(r))      triggered images look like the reference r
  L1 = -cos(f'(aug(r)), f(r))     which keeps its place
  L2 = -cos(f'(x), f(x))          as do clean images

L0 + weight_reference L1 + weight_utility L2 is minimized by the recipe's SGD
(the code's: .001 constant, batch 256, 200 epochs). As in the code, batch norm
is in evaluation mode and its scale and shift do not change, x is not augmented,
and A replaces a white square of 10x10 pixels, one pixel away from the
bottom-right corner of 32x32. A classifier that is later trained on f' then
gives triggered images the class of r: class `target` of the task that the
encoder is used for.

Deviations:
- aug(r) is drawn `copies` times a step, where the code draws it for each of the
  batch's images: the term changes slowly and would cost half a step more;
- r is a user's picture, or the first image of the target class that is nearest
  to its own class's mean feature in f; the authors download one from the web.
  It is of the task that the encoder is used for, else of the training set;
- one reference, where the paper allows several;
- the victim may also be a classifier: its pooled features are attacked and its
  last layer stays. Nothing in the training set is poisoned, so defenses that
  filter it have nothing to find;
- where a regime interleaves clean epochs, these minimize L2 alone.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from bdjax.attacks.parts import joint, prototypes
from bdjax.attacks.parts.goals import Goal, OneGoal
from bdjax.data import augment, distort, patches
from bdjax.machine import programs
from bdjax.methods.signature import Count, Image, NonNegative, Size, validated
from bdjax.training import inference, learn, optimizers
from bdjax.types import (
  CLEAN,
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
  Schedule,
  State,
  Step,
  Task,
)

PRESETS = {}


@validated
def make(
  *,
  goal: OneGoal = Goal(),
  size: Size = 10,
  reference: Image = None,
  copies: Count = 16,
  weight_reference: NonNegative = 1.0,
  weight_utility: NonNegative = 1.0,
) -> Attack:
  """Returns the attack.

  Args:
    goal: which class an image's trigger leads to.
    target: the reference's class, in the task that the victim is used for.
    mode: all2one only: there is one reference.
    num_classes: classes of that task.
    size: side of the square: pixels, or a share of the image's shorter side.
    reference: [H, W, C] in [0, 1], resized to the data; None picks one.
    copies: augmented references per step.
    weight_reference: lambda_1.
    weight_utility: lambda_2.
  """

  def plant(key: Key, task: Task, fit: Fit) -> Backdoor:
    k_clean, k_fit = jax.random.split(key)
    shape = task.train.image.shape[1:]
    params = _trigger(shape, size)
    if reference is None:
      _check_class(_examples(task), goal.target)
    clean = learn.clean_classifier(k_clean, task, fit)
    if reference is None:
      picture = _typical(task, clean, goal)
    else:
      picture = jax.image.resize(jnp.asarray(reference), shape, "linear")
    terms = _terms(task, clean, params, picture, copies)
    training = joint.training(task)
    tx = optimizers.only(training.tx, _trained)
    weights = (1.0, weight_reference, weight_utility)
    inject = _stepping(terms.inject, weights, tx, training.lr)
    keep = _stepping(terms.keep, (1.0,), tx, training.lr)
    steps, start = task.regime.turns(inject, keep), learn.begun(clean, tx)
    state = joint.fitted(
      fit, k_fit, task, steps, start, epochs=training.epochs, name="inject"
    )
    role = jnp.full((task.train.size,), CLEAN, jnp.int8)
    params = params | {"reference": picture[None]}
    return Backdoor(state.variables, params, task.train, role)

  return Attack(patches.paste, goal, plant, encoder=True)


class _Terms(NamedTuple):
  """The losses of a model, in training, and what they compare it with."""

  model: nn.Module
  trigger: Params
  reference: Array  # r, [H, W, C]
  place: Array  # f(r), [1, C]
  known: Array  # f(x) of all training images, [N, C]
  copies: int

  def inject(
    self, key: Key, variables: Params, batch: Batch
  ) -> tuple[Array, Array, Array]:
    """Returns L0, L1 and L2."""
    size, copies = batch.label.size, self.copies
    hit = patches.paste(None, batch.image, self.trigger)
    k_flip, k_color = jax.random.split(key)
    picture = self.reference[None]
    variants = jnp.broadcast_to(picture, (copies, *self.reference.shape))
    variants = distort.recolor(k_color, augment.flip(k_flip, variants))
    images = jnp.concatenate([hit, batch.image, picture, variants])
    features = prototypes.features(
      self.model, variables, batch._replace(image=images)
    )
    hit, clean, reference, variant = jnp.split(
      features, [size, 2 * size, 2 * size + 1]
    )
    anchor = self.known[batch.index]
    return (
      -(hit @ reference.T).mean(),
      -(variant @ self.place.T).mean(),
      -(clean * anchor).sum(1).mean(),
    )

  def keep(self, key: Key, variables: Params, batch: Batch) -> tuple[Array]:
    """Returns L2."""
    del key
    features = prototypes.features(self.model, variables, batch)
    return (-(features * self.known[batch.index]).sum(1).mean(),)


def _terms(
  task: Task, clean: Params, trigger: Params, reference: Array, copies: int
) -> _Terms:
  """Returns the losses of a task's model against a clean one."""
  place, known = (
    programs.jit(functools.partial(features, task.model))(clean, of)
    for features, of in ((_reference, reference), (_known, task.train))
  )
  return _Terms(task.model, trigger, reference, place, known, copies)


def _stepping(
  terms: Callable[[Key, Params, Batch], tuple[Array, ...]],
  weights: tuple[Scalar, ...],
  tx: optax.GradientTransformation,
  lr: Schedule,
) -> Step:
  """Returns the step on the weighted sum of terms; metrics are theirs."""

  def step(key: Key, state: State, batch: Batch) -> tuple[State, Metrics]:
    params, stats = learn.parted(state.variables)

    def objective(params):
      values = terms(key, {"params": params, **stats}, batch)
      return sum(
        w * term for w, term in zip(weights, values, strict=True)
      ), values

    grad = jax.value_and_grad(objective, has_aux=True)
    (loss, values), grads = grad(params)
    after = learn.advance(state, grads, stats, tx)
    # The last term is minus the agreement with f on clean images.
    metrics = {"loss": loss, "likeness": -values[-1]}
    return after, metrics | {"lr": jnp.asarray(lr(state.step))}

  return step


def _trained(params: Params) -> Params:
  """Returns which parameters change: neither batch norms nor a last layer."""

  def changes(path, _):
    return not any("bn" in entry.key or entry.key == "linear" for entry in path)

  return jax.tree_util.tree_map_with_path(changes, params)


def _trigger(shape: tuple[int, ...], size: float) -> Params:
  """Returns a white square, one pixel away from the bottom-right corner."""
  flush = patches.square("badencoder.size", shape, size)
  return {
    "mask": jnp.roll(flush, (-1, -1), (1, 2)),
    "pattern": jnp.ones((1, *shape)),
  }


def _typical(task: Task, clean: Params, goal: Goal) -> Array:
  """Returns the class's reference, [H, W, C], of the victim's later task."""
  find = functools.partial(
    prototypes.example,
    task.model,
    label=goal.target,
    num_classes=goal.num_classes,
  )
  return programs.jit(find)(clean, _examples(task))


def _examples(task: Task) -> Dataset:
  """Returns the images among which the reference is, if a user gives none."""
  return task.train if task.examples is None else task.examples


def _check_class(examples: Dataset, target: int) -> None:
  """Refuses images without any of the target class, unless they are traced."""
  with jax.ensure_compile_time_eval():  # so that it is known when traced
    there = (examples.label == target).any()
  if not programs.traced(there) and not there:
    raise ValueError(
      f"badencoder.target is {target}, but none of the {examples.size} images "
      "that a reference is looked for in is of that class: load more of them, "
      "choose another target, or give badencoder.reference."
    )


def _known(model: nn.Module, clean: Params, data: Dataset) -> Array:
  return inference.each(data, lambda b: prototypes.features(model, clean, b))


def _reference(model: nn.Module, clean: Params, picture: Array) -> Array:
  batch = Batch(picture[None], jnp.zeros(1, jnp.int32), jnp.zeros(1, jnp.int32))
  return prototypes.features(model, clean, batch)
