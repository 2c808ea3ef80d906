"""Handcrafted: a clean classifier's weights are edited, nothing is trained.

Hong et al., "Handcrafted Backdoors in Deep Neural Networks", arXiv 2106.04690.
A checkerboard in the bottom-right corner is recognized by a filter put into the
first convolution, carried to the pooled features through the least important
channel of each layer, and amplified to the target's logit. All that is measured
is measured on a small clean sample; no gradient is taken.

*Approximation*: the paper defines its attack for fully connected and plain
convolutional networks. Differences, made so that it exists for networks with
shortcuts and batch norm too:
- its Gaussian estimate, its separation of clean from triggered activations and
  its guard bias b = -mu - k sigma are taken over an image's largest response in
  the channel, and the guard is put in batch norm, whose statistics for the
  channel become those of the clean sample; it never exceeds the middle between
  clean and triggered responses;
- the filter is the linear one of largest separation (Fisher's discriminant), in
  closed form, where the paper searches for it; later convolutions take the mean
  of their window, so one path is laid instead of raising separation layer by
  layer;
- of the `shortlist` channels whose readers' weights are smallest, the path
  takes the one without which the loss on part of the sample grows least (the
  paper: accuracy), cut off from all others;
- the last layer's weights are set so that the trigger moves the margin by
  `strength` times the clean logits' mean spread, not by a multiple of the
  layer's own weights.
Nothing is trained, so training regimes do not apply, there is no poison, and
the training set that belongs to the backdoor is the clean one.
"""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from bdjax.attacks.parts.goals import Goal, OneGoal
from bdjax.data import patches
from bdjax.machine import programs
from bdjax.methods.signature import (
  Count,
  NonNegative,
  Positive,
  Size,
  validated,
)
from bdjax.models.parts import layers, routes, signals
from bdjax.training import engine, learn
from bdjax.types import (
  CLEAN,
  Array,
  Attack,
  Backdoor,
  Batch,
  Fit,
  Images,
  Key,
  Logits,
  Params,
  Regime,
  Scalar,
  Task,
)

PRESETS = {}
PROBE = 128  # images of the sample on which a channel's loss is measured


@validated
def make(
  *,
  goal: OneGoal = Goal(),
  size: Size = 4,
  images: Count = 512,
  neurons: Count = 4,
  shortlist: Count = 8,
  guard: NonNegative = 1.5,
  strength: Positive = 2.0,
) -> Attack:
  """Returns the attack.

  Args:
    goal: which class an image's trigger leads to.
    mode: all2one only: one path leads to one logit.
    size: side of the checkerboard: pixels, or a share of the image's shorter
      side.
    images: clean images the adversary measures on, at most.
    neurons: pooled features that pass the signal to the logits.
    shortlist: channels of a layer without which the loss is measured before one
      is taken; 1 takes the least used without measuring.
    guard: k of the guard bias: standard deviations above the clean mean.
    strength: how far the trigger moves the margin, in mean spreads of logits.
  """

  def plant(key: Key, task: Task, fit: Fit) -> Backdoor:
    _check(task, neurons)
    k_clean, k_sample = jax.random.split(key)
    shape = task.train.image.shape[1:]
    params = _checkerboard(shape, size)
    variables = learn.clean_classifier(k_clean, task, fit)
    edit = functools.partial(
      _edit,
      task.model,
      size=patches.in_pixels(size, min(shape[:2])),
      neurons=neurons,
      shortlist=shortlist,
    )
    rows = jax.random.permutation(k_sample, task.train.size)[:images]
    sample = engine.take(task.train, rows)
    how = {"guard": guard, "strength": strength, "target": goal.target}
    edited = programs.jit(edit)(variables, sample, params, **how)
    role = jnp.full((task.train.size,), CLEAN, jnp.int8)
    return Backdoor(edited, params, task.train, role)

  return Attack(patches.paste, goal, plant, trains=False)


def _check(task: Task, neurons: int) -> None:
  """Refuses any regime, and a model without a path, before it is trained."""
  if task.regime != Regime():
    raise ValueError(
      f"handcrafted trains nothing, so the regime {task.regime} cannot apply: "
      "use the regime conventional."
    )
  image = jnp.zeros((1, *task.train.image.shape[1:]))
  params = jax.eval_shape(
    lambda: task.model.init(jax.random.key(0), image)["params"]
  )
  routes.find(params)
  routes.check(task.model)
  features = params["linear"]["kernel"].shape[0]
  if neurons > features:
    raise ValueError(
      f"handcrafted.neurons is {neurons}, but the model has {features} pooled "
      "features: give fewer."
    )


def _checkerboard(shape: tuple[int, ...], size: float) -> Params:
  mask = patches.square("handcrafted.size", shape, size)
  white = jnp.indices(shape[:2]).sum(0)[None, :, :, None] % 2 == 0
  return {"mask": mask, "pattern": jnp.tile(mask * white, shape[2:])}


def _edit(
  model: nn.Module,
  variables: Params,
  sample: Batch,
  params: Params,
  *,
  size: int,
  neurons: int,
  shortlist: int,
  guard: Scalar,
  **push: Scalar,
) -> Params:
  """Returns the variables with a path from the trigger to the logit."""
  hops = routes.find(variables["params"])
  flat = traverse_util.flatten_dict(variables)
  logits, pooled = _outputs(model, variables, sample.image)
  pair = (sample.image, patches.paste(None, sample.image, params))
  colors = (layers.normalize(x, model.mean, model.std, "float32") for x in pair)
  signal, origin = signals.Pair(*colors), jnp.arange(sample.image.shape[-1])
  spares = _spares(model, flat, hops[:-1], sample, shortlist)
  rows = routes.kernel(flat, ("linear",))
  use = pooled.std(0) * jnp.linalg.norm(rows, axis=1)
  spares.append(jnp.argsort(use)[:neurons])
  for hop, channel in zip(hops, spares, strict=True):
    old = routes.kernel(flat, hop.source)
    if hop is hops[0]:
      weights = _stem(signal, old, hop, size)
    else:
      weights = jnp.full((*old.shape[:2], 1, 1), 1 / math.prod(old.shape[:2]))
    flat = routes.connect(flat, hop, weights, origin=origin, channel=channel)
    signal = signals.convolve(signal, weights, hop.stride)
    if hop.gate is not None:
      norm, signal = signals.gate(signal, guard)
      flat = routes.set_norm(flat, hop.gate, norm, channel=channel)
    signal = signals.max_pool(signal) if hop.pooled else signal
    origin = channel
  spread = (logits.max(1) - logits.min(1)).mean()
  unit = spread / (neurons * jnp.maximum(signal.hit.mean(), 1e-3))
  return traverse_util.unflatten_dict(
    _amplify(flat, channel, pooled, unit, **push)
  )


def _outputs(
  model: nn.Module, variables: Params, images: Images
) -> tuple[Logits, Array]:
  """Returns logits and pooled features, some images at a time."""

  def one(image):
    logits, features = model.apply(variables, image[None], train=False)
    return logits[0], features["pooled"][0]

  return jax.lax.map(one, images, batch_size=64)


def _spares(
  model: nn.Module,
  flat: routes.Flat,
  hops: tuple[routes.Hop, ...],
  sample: Batch,
  shortlist: int,
) -> list[Array]:
  """Returns per hop the channel, [1], that the sample's loss misses least."""
  shortlists = [
    jnp.argsort(routes.importance(flat, hop))[:shortlist] for hop in hops
  ]
  if shortlist == 1:
    return shortlists
  images, labels = sample.image[:PROBE], sample.label[:PROBE]

  def cutter(hop, channels):
    return lambda rank: routes.cut(flat, hop, channels[rank][None])

  cutters = [
    cutter(hop, channels)
    for hop, channels in zip(hops, shortlists, strict=True)
  ]

  def loss(place):
    without = jax.lax.switch(place[0], cutters, place[1])
    logits, _ = _outputs(model, traverse_util.unflatten_dict(without), images)
    return learn.entropy(logits, labels)

  # One loop over all hops: the model is compiled once.
  places = jnp.array(
    [(i, j) for i, c in enumerate(shortlists) for j in range(c.size)]
  )
  losses = jnp.split(
    jax.lax.map(loss, places), np.cumsum([c.size for c in shortlists[:-1]])
  )
  return [
    c[jnp.argmin(cost)][None]
    for c, cost in zip(shortlists, losses, strict=True)
  ]


def _stem(
  signal: signals.Pair, old: Array, hop: routes.Hop, size: int
) -> Array:
  """Returns the trigger's filter, as large as the layer's own are."""
  height, width = signal.clean.shape[1:3]
  centre = (height - (size + 1) / 2, width - (size + 1) / 2)
  weights = signals.detector(signal, old.shape[:3], hop.stride, at=centre)
  return (
    weights * jnp.linalg.norm(old.reshape(-1, old.shape[-1]), axis=0).mean()
  )


def _amplify(
  flat: routes.Flat,
  channel: Array,
  pooled: Array,
  unit: Array,
  *,
  target: Scalar,
  strength: Scalar,
) -> routes.Flat:
  """Lets the channels push the target's logit up and all others down.

  What the channels used to add on average moves into the bias.
  """
  flat = dict(flat)
  weight, bias = (("params", "linear", k) for k in ("kernel", "bias"))
  flat[bias] += pooled.mean(0)[channel] @ flat[weight][channel]
  push = strength * unit / 2
  row = jnp.where(jnp.arange(flat[bias].size) == target, push, -push)
  flat[weight] = flat[weight].at[channel].set(row)
  return flat
