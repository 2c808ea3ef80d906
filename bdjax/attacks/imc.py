"""IMC: a trigger pattern and a poisoned model that are optimized in turns.

Pang et al., "A Tale of Evil Twins: Adversarial Inputs versus Poisoned Models",
arXiv 1911.01559; constants and order as in the authors' library TrojanZoo. From
a clean classifier, epoch by epoch: (1) one pass over the training images, all
stamped, fits the pattern (tanh w + 1) / 2 under a mask to the target by Adam,
the model fixed; (2) one pass trains the model on each batch and on stamped
images besides, a share q of the whole.

Choices and deviations:
- TrojanZoo adds q / (1 - q) of a batch as stamped images. Here an eighth of the
  batch is stamped and its mean loss weighs q, that of the clean batch 1 - q:
  the same expected loss with less noise at small q, and q may be swept.
- Images are stamped after augmentation, so the mark lies where it is at test
  time. Batch norm sees clean and stamped images together.
- The pattern is fitted to the model as deployed (running statistics). It
  starts mid-grey, not as TrojanNN's; Adam keeps its moments between passes.
- Where a regime interleaves, clean passes come in between, and the pattern is
  then fitted to a model that has just seen clean images only.
- Epochs are the recipe's, in model passes, at the recipe's rate (TrojanZoo's
  example: 10 epochs from 0.01; its defaults are not verified); `rate` is also
  the share of poisons in the copy of the data that is frozen at the end.
"""

import jax
import jax.numpy as jnp
import optax

from bdjax.attacks.parts import joint, poison, supply
from bdjax.attacks.parts.goals import AnyGoal, Goal
from bdjax.attacks.parts.joint import Joint
from bdjax.data import patches
from bdjax.methods.signature import Image, Positive, Rate, Size, validated
from bdjax.training import learn
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
  Target,
  Task,
)

PRESETS = {"trojanzoo": {}, "fmn": {"rate": 0.05}}
_SHARE = 8  # one image in so many of a batch is stamped too


@validated
def make(
  *,
  rate: Rate = 0.01,
  goal: AnyGoal = Goal(),
  size: Size = 3,
  mask: Image = None,
  lr_pattern: Positive = 0.1,
) -> Attack:
  """Returns the attack.

  Args:
    rate: q, the share of stamped images in what the model is trained on.
    goal: which class an image's trigger leads to.
    size: side of the square in the top-left corner, in pixels or as a share of
      the image's shorter side.
    mask: [H, W, C] in [0, 1], averaged over the colours and resized to the
      data; the opacity of the pattern in place of the square. None for it.
    lr_pattern: learning rate of Adam on w.
  """
  copies = poison.Copies(patches.paste, goal, rate)

  def plant(key: Key, task: Task, fit: Fit) -> Backdoor:
    supply.check_rate(rate, task.train.size)
    k_clean, k_fit, k_end = jax.random.split(key, 3)
    cover = _cover(mask, size, task.train.image.shape[1:])
    training, adam = joint.training(task), optax.adam(lr_pattern)
    clean = learn.clean_classifier(k_clean, task, fit)
    w = {"params": {"w": jnp.zeros((1, *task.train.image.shape[1:]))}}
    fitting = _pattern_step(task, training, goal, cover, adam)
    planting = _model_step(task, training, goal, cover, rate)
    steps = [
      step
      for turn in joint.turns(planting, training.step, task.regime)
      for step in ((fitting, planting) if turn is planting else (turn,))
    ]
    start = Joint(training.start(clean), learn.begun(w, adam))
    fittings = training.epochs // (2 if task.regime.interleave else 1)

    def mark(state: Joint) -> Params:
      return _mark(state.partner.variables["params"], cover)

    state = joint.fitted(
      *(fit, k_fit, task, tuple(steps), start),
      epochs=training.epochs + fittings,
      name="imc",
      params=mark,
    )
    return copies.backdoor([k_end], task, state.victim.variables, mark(state))

  def poisoned(key: Key, task: Task, params: Params, role: Array) -> Dataset:
    return copies.again([jax.random.split(key, 3)[2]], task, params, role)

  return Attack(patches.paste, goal, plant, poisoned=poisoned)


def _cover(mask: Array | None, size: float, shape: tuple[int, ...]) -> Array:
  """Returns the mask, [1, H, W, 1]."""
  if mask is not None:
    return patches.opacity(mask, shape, label="imc.mask")
  return patches.square("imc.size", shape, size, corner="top_left")


def _mark(params: Params, cover: Array) -> Params:
  return {"mask": cover, "pattern": patches.squashed(params["w"])}


def _pattern_step(
  task: Task,
  training: joint.Training,
  target: Target,
  cover: Array,
  adam: optax.GradientTransformation,
) -> Step:
  """Returns the step that fits the pattern; `accuracy` is the share fooled."""

  def step(key: Key, state: State, batch: Batch) -> tuple[State, Metrics]:
    batch = task.view(key, batch)
    goal = target(batch.label)

    def objective(params):
      hit = patches.paste(None, batch.image, _mark(params, cover))
      logits, _ = task.model.apply(state.victim.variables, hit, train=False)
      return learn.entropy(logits, goal), logits

    grad = jax.value_and_grad(objective, has_aux=True)
    (value, logits), grads = grad(state.partner.variables["params"])
    partner = learn.advance(state.partner, grads, {}, adam)
    metrics = learn.report(value, logits, goal, state.victim.step, training.lr)
    return state.replace(partner=partner), metrics

  return step


def _model_step(
  task: Task,
  training: joint.Training,
  target: Target,
  cover: Array,
  rate: Scalar,
) -> Step:
  """Returns the step that trains the victim on clean and stamped images."""

  def step(key: Key, state: State, batch: Batch) -> tuple[State, Metrics]:
    batch = task.view(key, batch)
    size = batch.label.size
    extra = -(-size // _SHARE)
    mark = _mark(state.partner.variables["params"], cover)
    hit = patches.paste(None, batch.image[:extra], mark)
    images = jnp.concatenate([batch.image, hit])
    params, stats = learn.parted(state.victim.variables)

    def objective(params):
      (logits, _), new = learn.forward(task.model, params, stats, images)
      clean, stamped = logits[:size], logits[size:]
      loss = (1 - rate) * learn.entropy(clean, batch.label)
      loss += rate * learn.entropy(stamped, target(batch.label[:extra]))
      return loss, (clean, new)

    grad = jax.value_and_grad(objective, has_aux=True)
    (value, (logits, new)), grads = grad(params)
    victim = learn.advance(state.victim, grads, new, training.tx)
    metrics = learn.report(
      value, logits, batch.label, state.victim.step, training.lr
    )
    return state.replace(victim=victim), metrics

  return step
