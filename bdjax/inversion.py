"""Trigger inversion: the smallest patch that sends every image to one class.

Wang et al., "Neural Cleanse" (IEEE S&P 2019). For each class c, a mask m
[H, W, 1] and a pattern p [H, W, C], both squashed by tanh, minimize

  CE(f((1 - m) x + m p), c) + weight sum(m)

by Adam (betas .5 and .9) on clean images x, of class c too. As in the authors'
code and BackdoorBench's, a check follows every pass over the images, with the
mean success of the pass's steps:

- `patience` checks in a row with (without) enough success multiply the weight
  by `factor` (divide it by factor^1.5);
- the smallest mask at a check with enough success is kept; a class without any
  keeps its last mask;
- a class stops after `stop_after` checks in a row that shrink the best mask by
  less than the share `gain`, once its weight has gone both up and down.

A class is one `Search`; one program searches all, by a vmap over their masks or
in turn, and stopped ones do not change. Mask norms are those of the masks kept,
where both codes take the mean of the pass.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from bdjax import control, loop, patches
from bdjax.types import (
  Access,
  Array,
  Batch,
  Fit,
  Key,
  Metrics,
  Params,
  Scalar,
  Step,
)

START = 1.0  # before squashing: masks and patterns of .88, as BackdoorBench's


class Rules(NamedTuple):
  """The numbers of the search; defaults are BackdoorBench's for CIFAR-10.

  Attributes:
    lr: of Adam.
    weight: of the mask's norm at the start.
    factor: the weight is multiplied by it, or divided by its power 1.5.
    success: share of images sent to the class that is enough.
    patience: checks in a row before the weight changes.
    gain: share by which the best mask must shrink to count as progress.
    stop_after: checks in a row without progress before a class stops.
  """

  lr: Scalar = 0.1
  weight: Scalar = 1e-3
  factor: Scalar = 2.0
  success: Scalar = 0.98
  patience: int = 5
  gain: Scalar = 0.01
  stop_after: int = 25


@flax.struct.dataclass
class Search:
  """The search for one class's trigger; of several classes when stacked."""

  label: Array  # int32
  trigger: Params  # "mask" [H, W, 1] and "pattern" [H, W, C], not squashed
  opt_state: optax.OptState
  weight: Array  # of the mask's norm
  hits: Array  # success summed over the steps since the last check
  streak: Array  # checks in a row with enough success; negative: without
  raised: Array  # whether the weight has ever gone up, bool
  lowered: Array  # and down
  best: Params  # the trigger kept
  norm: Array  # of its mask; inf before there is one
  success: Array  # at the check that chose it
  stale: Array  # checks in a row without progress, int32
  stopped: Array  # bool


class Inverting(NamedTuple):
  """All searches, and the model that they share."""

  variables: Params
  searches: Search  # [classes, ...]
  step: Array  # int32


class Inverted(NamedTuple):
  """What was found, per class."""

  mask: Array  # [classes, H, W, 1] in [0, 1]
  pattern: Array  # [classes, H, W, C] in [0, 1]
  norm: Array  # [classes], sum of the mask
  success: Array  # [classes]; 0 where no trigger was good enough
  found: Array  # [classes] bool: one was


def begin(label: Array, shape: tuple[int, ...], rules: Rules) -> Search:
  """Returns a class's search, in images of shape (H, W, C), before any step."""
  mask, pattern = (*shape[:2], 1), shape
  trigger = {"mask": jnp.full(mask, START), "pattern": jnp.full(pattern, START)}
  zero, none, no = (jnp.zeros((), kind) for kind in (float, int, bool))
  return Search(
    label=label,
    trigger=trigger,
    opt_state=_adam(rules).init(trigger),
    weight=zero + rules.weight,
    hits=zero,
    streak=none,
    raised=no,
    lowered=no,
    best=trigger,
    norm=zero + jnp.inf,
    success=zero,
    stale=none,
    stopped=no,
  )


def descend(
  model: nn.Module,
  variables: Params,
  search: Search,
  batch: Batch,
  rules: Rules,
) -> tuple[Search, Metrics]:
  """Returns one class's search after one step of Adam, and its metrics.

  Args:
    model: the architecture, in evaluation mode.
    variables: of the suspect.
    search: of one class.
    batch: clean images; their labels play no part.
    rules: the numbers.
  """
  wanted = jnp.full(batch.label.shape, search.label)

  def objective(trigger):
    shown = jax.tree.map(lambda w: patches.squashed(w)[None], trigger)
    images = patches.paste(None, batch.image, shown)
    logits, _ = model.apply(variables, images, train=False)
    norm, hit = shown["mask"].sum(), jnp.mean(logits.argmax(-1) == wanted)
    loss = control.entropy(logits, wanted) + search.weight * norm
    return loss, {"loss": loss, "success": hit, "norm": norm}

  grads, metrics = jax.grad(objective, has_aux=True)(search.trigger)
  updates, opt_state = _adam(rules).update(grads, search.opt_state)
  return search.replace(
    trigger=optax.apply_updates(search.trigger, updates),
    opt_state=opt_state,
    hits=search.hits + metrics["success"],
  ), metrics


def check(search: Search, rules: Rules, *, steps: int) -> Search:
  """Returns one class's search after the check that ends a pass of steps."""
  rate = search.hits / steps
  enough = rate >= rules.success
  norm = patches.squashed(search.trigger["mask"]).sum()
  better = enough & (norm < search.norm)
  least = jnp.where(better, norm, search.norm)
  stuck = jnp.isfinite(search.norm) & (least >= (1 - rules.gain) * search.norm)
  stale = jnp.where(stuck, search.stale + 1, 0)
  ended = search.raised & search.lowered & (stale >= rules.stop_after)
  before = search.streak
  streak = jnp.where(
    enough, jnp.maximum(before, 0) + 1, jnp.minimum(before, 0) - 1
  )
  up, down = streak >= rules.patience, streak <= -rules.patience
  lower = jnp.where(down, search.weight / rules.factor**1.5, search.weight)
  return search.replace(
    weight=jnp.where(up, search.weight * rules.factor, lower),
    hits=jnp.zeros_like(search.hits),
    streak=jnp.where(up | down, 0, streak),
    raised=search.raised | up,
    lowered=search.lowered | down,
    best=_where(better, search.trigger, search.best),
    norm=least,
    success=jnp.where(better, rate, search.success),
    stale=stale,
    stopped=ended,
  )


def searching(
  model: nn.Module, rules: Rules, *, steps: int, width: int
) -> Step:
  """Returns the step of all searches, `width` at once; `steps` make a pass.

  Metrics are means over the classes still searched.
  """

  def step(key, state, batch):
    del key
    ends = state.step % steps == steps - 1

    def search_on(search):
      after, metrics = descend(model, state.variables, search, batch, rules)
      return _where(ends, check(after, rules, steps=steps), after), metrics

    def rest(search):
      _, metrics = jax.eval_shape(search_on, search)
      return search, jax.tree.map(jnp.zeros_like, metrics)

    def one(search):
      return jax.lax.cond(search.stopped, rest, search_on, search)

    before = state.searches
    searches, metrics = _each(one, before, width=width)
    active = jnp.maximum((~before.stopped).sum(), 1)
    metrics = jax.tree.map(lambda x: x.sum() / active, metrics)
    metrics["stopped"] = searches.stopped.mean()
    return Inverting(state.variables, searches, state.step + 1), metrics

  return step


def invert(
  key: Key,
  access: Access,
  fit: Fit,
  *,
  rules: Rules,
  rounds: int,
  batch_size: int,
  width: int,
  name: str,
) -> Inverted:
  """Returns the smallest trigger found for every class of a model.

  Args:
    key: random key.
    access: the suspect, and clean images.
    fit: runs the passes.
    rules: the numbers of the search.
    rounds: passes over the clean images, at most.
    batch_size: images per step and class.
    width: classes searched at once; 0 is one on a CPU, where more take longer,
      and all elsewhere.
    name: of the stage.
  """
  shape = access.clean.image.shape[1:]
  labels = jnp.arange(_classes(access, shape), dtype=jnp.int32)
  begun = jax.jit(jax.vmap(lambda label: begin(label, shape, rules)))(labels)
  steps = loop.steps_per_epoch(access.clean.size, batch_size)
  state, _ = fit(
    key,
    searching(access.model, rules, steps=steps, width=width),
    Inverting(access.variables, begun, jnp.zeros((), jnp.int32)),
    access.clean,
    epochs=rounds,
    batch_size=batch_size,
    name=name,
  )
  return jax.jit(result)(state.searches)


def result(searches: Search) -> Inverted:
  """Returns the triggers that searches kept, or their last ones."""
  found = jnp.isfinite(searches.norm)
  kept = jax.vmap(_where)(found, searches.best, searches.trigger)
  mask, pattern = (patches.squashed(kept[k]) for k in ("mask", "pattern"))
  norm = mask.sum((1, 2, 3))
  return Inverted(mask, pattern, norm, searches.success, found)


def _adam(rules: Rules) -> optax.GradientTransformation:
  return optax.adam(rules.lr, b1=0.5, b2=0.9)


def _where(which: Array, new: Params, old: Params) -> Params:
  return jax.tree.map(lambda n, o: jnp.where(which, n, o), new, old)


def _each(function: Callable, stacked: Search, *, width: int) -> Params:
  """Maps over the leading axis, `width` members at once; see `invert`."""
  width = width or (1 if jax.default_backend() == "cpu" else len(stacked.label))
  if width >= len(stacked.label):
    return jax.vmap(function)(stacked)
  if width == 1:  # without a vmap, a `cond` really skips
    return jax.lax.map(function, stacked)
  return jax.lax.map(function, stacked, batch_size=width)


def _classes(access: Access, shape: tuple[int, ...]) -> int:
  image = jnp.zeros((1, *shape))
  logits, _ = jax.eval_shape(
    lambda v: access.model.apply(v, image, train=False), access.variables
  )
  return logits.shape[-1]
