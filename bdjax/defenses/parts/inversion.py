"""Trigger inversion: the smallest patch that sends every image to one class.

Wang et al., "Neural Cleanse" (IEEE S&P 2019). For each class c, a mask m
[H, W, 1] and a pattern p [H, W, C], both squashed by tanh, minimize

  CE(f((1 - m) x + m p), c) + weight sum(m)

by Adam (betas .5 and .9) on clean images x, of class c too. As in
BackdoorBench, a check follows every pass over the images (in the authors' code,
every 1,000 images), with the mean success of the pass's steps:

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

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from bdjax.data import patches
from bdjax.defenses.parts.search import (
  Rules,
  Search,
  begin,
  check,
  descend,
  where,
)
from bdjax.machine import programs
from bdjax.training import engine
from bdjax.types import Access, Array, Fit, Key, Metrics, Params, Step


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
  reached: Array  # [classes] bool: one was


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
      return where(ends, check(after, rules, steps=steps), after), metrics

    before = state.searches
    searches, metrics = _each(search_on, before, width=width)
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
    access: the suspect, and clean images.
    rounds: passes over the clean images, at most.
    batch_size: images per step and class.
    width: classes searched at once; 0 is one on a CPU, where more take longer,
      and all elsewhere.
  """
  shape = access.clean.image.shape[1:]
  labels = jnp.arange(_classes(access, shape), dtype=jnp.int32)
  one = functools.partial(begin, shape=shape, rules=rules)
  begun = programs.jit(jax.vmap(one))(labels)
  steps = engine.steps_per_epoch(access.clean.size, batch_size)
  state, _ = fit(
    key,
    searching(access.model, rules, steps=steps, width=width),
    Inverting(access.variables, begun, jnp.zeros((), jnp.int32)),
    access.clean,
    epochs=rounds,
    batch_size=batch_size,
    name=name,
  )
  return programs.jit(result)(state.searches)


def result(searches: Search) -> Inverted:
  """Returns the triggers that searches kept, or their last ones."""
  finite = jnp.isfinite(searches.norm)
  triggers = jax.vmap(where)(finite, searches.best, searches.trigger)
  mask, pattern = (patches.squashed(triggers[k]) for k in ("mask", "pattern"))
  norm = mask.sum((1, 2, 3))
  return Inverted(mask, pattern, norm, searches.success, finite)


def _each(
  search_on: Callable[[Search], tuple[Search, Metrics]],
  stacked: Search,
  *,
  width: int,
) -> tuple[Search, Metrics]:
  """Goes on with the searches that are not stopped, `width` at once.

  One at a time, a `cond` skips the stopped ones. Under a vmap it would compute
  both sides anyway and, worse, give the weights that all classes share an axis
  of classes, so that each convolution became one of as many groups; `where`
  leaves them as they are. See `invert` for a width of 0, which the platform
  that the program is compiled for decides.
  """
  _, shapes = jax.eval_shape(search_on, jax.tree.map(lambda x: x[0], stacked))

  def skipped(search):
    return search, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

  def one(search):
    return jax.lax.cond(search.stopped, skipped, search_on, search)

  def of_many(search):
    return where(search.stopped, skipped(search), search_on(search))

  def in_turn(stacked):
    return jax.lax.map(one, stacked)

  def at_once(stacked):
    if 1 < width < len(stacked.label):
      return jax.lax.map(of_many, stacked, batch_size=width)
    return jax.vmap(of_many)(stacked)

  if width:
    return in_turn(stacked) if width == 1 else at_once(stacked)
  return jax.lax.platform_dependent(stacked, cpu=in_turn, default=at_once)


def _classes(access: Access, shape: tuple[int, ...]) -> int:
  image = jnp.zeros((1, *shape))
  logits, _ = jax.eval_shape(
    lambda v: access.model.apply(v, image, train=False), access.variables
  )
  return logits.shape[-1]
