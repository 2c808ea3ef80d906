"""The search for one class's trigger; see `inversion` for the method."""

import dataclasses
from typing import Annotated

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax

from bdjax.data import patches
from bdjax.methods.signature import Count, Fraction, Positive, Range, Rate
from bdjax.training import learn
from bdjax.types import Array, Batch, Metrics, Params, Scalar

START = 1.0  # before squashing: masks and patterns of .88, as BackdoorBench's


@dataclasses.dataclass(frozen=True)
class Rules:
  """The numbers of the search; defaults are BackdoorBench's for CIFAR-10.

  Attributes:
    lr_trigger: of Adam on masks and patterns.
    weight: of the mask's norm at the start of the search.
    factor: what the weight is multiplied by, or divided by to the power 1.5.
    success: share of images sent to a class that counts as success.
    patience: passes in a row before the weight changes.
    gain: share by which the best mask must shrink to count as progress.
    stop_after: passes in a row without progress before a class stops.
  """

  lr_trigger: Positive = 0.1
  weight: Positive = 1e-3
  factor: Annotated[Scalar, Range(1.0)] = 2.0
  success: Rate = 0.98
  patience: Count = 5
  gain: Fraction = 0.01
  stop_after: Count = 25


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
    batch: clean images; their labels play no part.
  """
  target = jnp.full(batch.label.shape, search.label)

  def objective(trigger):
    squashed = jax.tree.map(lambda w: patches.squashed(w)[None], trigger)
    images = patches.paste(None, batch.image, squashed)
    logits, _ = model.apply(variables, images, train=False)
    norm, hit = squashed["mask"].sum(), jnp.mean(logits.argmax(-1) == target)
    loss = learn.entropy(logits, target) + search.weight * norm
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
    best=where(better, search.trigger, search.best),
    norm=least,
    success=jnp.where(better, rate, search.success),
    stale=stale,
    stopped=ended,
  )


def _adam(rules: Rules) -> optax.GradientTransformation:
  return optax.adam(rules.lr_trigger, b1=0.5, b2=0.9)


def where(which: Array, new: Params, old: Params) -> Params:
  """Returns one tree or the other, as `jnp.where` chooses."""
  return jax.tree.map(lambda n, o: jnp.where(which, n, o), new, old)
