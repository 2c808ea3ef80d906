"""Narcissus: a bounded noise that points into the target class, clean-label.

Zeng et al., "Narcissus: A Practical Clean-Label Backdoor Attack with Limited
Information", arXiv 2204.05255; constants are its repository's
(reds-lab/Narcissus). One noise for all images, |delta| <= 16/255, lowers a
surrogate's cross-entropy on images of the target class. It is added to 0.05 %
of the data, all of the target class, before augmentation; labels stay. At test
time it is added three times as strongly. Forget-Me-Not poisons 5 % (preset
`fmn`); of fewer than 50,000 images give more than 0.05 %
(docs/results_small.md). The reference's target is class 2; here it is 0, as for
other attacks.

Deviations from paper and reference:
- The surrogate is a clean classifier of the task's own training data and
  architecture. The paper's adversary knows the target class only and adds
  Tiny-ImageNet to it, so this one knows more. It has seen the target class, so
  the paper's five epochs of warm-up on it are left out.
- The surrogate is in test mode while the noise is optimized; the reference
  leaves its batch norm in training mode.
- A round is one step on a minibatch drawn with replacement; the reference's is
  a pass over the target class in batches of 350, and it stops when the gradient
  vanishes.
- The noise is projected after every step; the reference clamps it inside the
  loss and at the end.
- The rate 0.01 of the reference is for images in [-1, 1], hence 0.005 here.
"""

import functools

import jax
import jax.numpy as jnp
import optax

from bdjax.attacks.parts import poison, universal
from bdjax.attacks.parts.goals import Goal, OneGoal
from bdjax.machine import programs
from bdjax.methods.signature import Count, Positive, Rate, validated
from bdjax.training import engine, learn
from bdjax.types import Array, Attack, Fit, Images, Key, Params, Scalar, Task

PRESETS = {"fmn": {"rate": 0.05}}


@validated
def make(
  *,
  rate: Rate = 0.0005,
  goal: OneGoal = Goal(),
  eps: Positive = 16 / 255,
  magnify: Positive = 3.0,
  rounds: Count = 1000,
  batch_size: Count = 32,
  lr: Positive = 0.005,
) -> Attack:
  """Returns the attack.

  Args:
    rate: share of the training set that is poisoned, all of the target class.
    goal: which class an image's trigger leads to.
    mode: all2one.
    eps: bound on every entry of the noise, in units of [0, 1].
    magnify: strength of the noise at test time.
    rounds: steps of RAdam on the noise.
    batch_size: images of the target class per step.
    lr: of RAdam.
  """

  def init(key: Key, task: Task, fit: Fit) -> Params:
    k_clean, k_invert = jax.random.split(key)
    variables = learn.clean_classifier(k_clean, task, fit)
    optimize = functools.partial(
      _invert, goal.target, eps, rounds, batch_size, lr
    )
    delta = programs.jit(optimize)(k_invert, task, variables)
    return {"delta": delta, "magnify": jnp.float32(magnify)}

  return poison.data_poisoning(
    init, trigger, goal, rate, stamp=universal.added, clean_label=True
  )


def trigger(key: Key, images: Images, params: Params) -> Images:
  """Returns the images with the magnified noise added, clipped."""
  del key
  return jnp.clip(images + params["magnify"] * params["delta"], 0, 1)


def _invert(
  target: int,
  eps: Scalar,
  rounds: int,
  batch_size: int,
  lr: Scalar,
  key: Key,
  task: Task,
  variables: Params,
) -> Array:
  """Returns the noise, [1, H, W, C], that points a surrogate to the target."""
  k_order, k_rounds = jax.random.split(key)
  data = task.train
  members = data.replace(keep=data.label == target)
  pool = engine.order(k_order, members, data.size)

  def drawn(key):
    k_draw, k_view = jax.random.split(key)
    rows = jax.random.choice(k_draw, pool, (batch_size,))
    return task.view(k_view, engine.take(data, rows)).image

  return universal.descend(
    jax.random.split(k_rounds, rounds),
    drawn,
    lambda x: task.model.apply(variables, x, train=False)[0],
    start=jnp.zeros((1, *data.image.shape[1:])),
    target=target,
    eps=eps,
    tx=optax.radam(lr),
  )
