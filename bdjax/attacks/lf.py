"""LF: a smooth, low-frequency glow that a clean classifier is sensitive to.

Zeng et al., "Rethinking the Backdoor Attacks' Triggers: A Frequency
Perspective", arXiv 2104.03413. Dirty-label data poisoning with
A(x) = clip(x + v), the same v in training and at test time, its values filling
[0, strength].

v is found against a clean classifier g in passes over a few training images.
Where g(x + v) and g(x) still predict the same class, a targeted DeepFool from
x + v gives a push r; then v <- S(v + S(r)), rescaled to [0, strength]. S is a
separable Gaussian low-pass: 30 taps, sigma 6 pixels, zeros outside. The search
ends when g's prediction changes on a share `fooled` of the images, when the
last five shares lie within .01, or after `passes`. Constants are
BackdoorBench's.

Deviations: DeepFool pushes away from the current prediction, where the
benchmark goes on pushing away from the first one, and a push that has not
reached its class in `iterations` steps is used as it is, not dropped. The share
is taken on the searched images, where the benchmark takes test images. g sees
images as its training did; the benchmark leaves out the normalization.
`source="noise"` needs no classifier: smoothed noise, rescaled alike. It is a
low-frequency trigger, but not the paper's. Stamped images are rounded to bytes;
`compat="backdoorbench"` truncates them, as the benchmark does.
"""

import functools
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from bdjax.attacks.parts import levels, poison, universal
from bdjax.attacks.parts.goals import AnyGoal, Goal
from bdjax.machine import programs
from bdjax.methods.signature import (
  Annotated,
  Choice,
  Compat,
  Count,
  Drawing,
  Index,
  Rate,
  validated,
)
from bdjax.training import engine, learn
from bdjax.types import (
  Array,
  Attack,
  Dataset,
  Fit,
  Images,
  Key,
  Params,
  Scalar,
  Target,
  Task,
)

PRESETS = {"bb": {"compat": "backdoorbench"}, "fmn": {"rate": 0.05}}
TAPS, SIGMA = 30, 6.0  # of the low-pass, in pixels


@validated
def make(
  *,
  rate: Rate = 0.1,
  goal: AnyGoal = Goal(),
  strength: Rate = 0.2,
  source: Annotated[str, Choice(("deepfool", "noise"))] = "deepfool",
  images: Count = 100,
  passes: Count = 50,
  iterations: Count = 200,
  fooled: Rate = 0.2,
  image: Drawing = None,
  pattern_seed: Index = 0,
  compat: Compat = "paper",
) -> Attack:
  """Returns the attack.

  Args:
    rate: share of the training set that is poisoned.
    goal: which class an image's trigger leads to.
    strength: largest value of v, on the scale of [0, 1].
    source: of v: deepfool, the paper's search, or noise, which needs no model.
    images: training images that the search passes over, at most.
    passes: over them, at most.
    iterations: of each DeepFool, at most.
    fooled: share of changed predictions that ends the search.
    image: [H, W, C], the user's own v, resized to the data and rescaled to
      [0, strength] whatever its own range; None for `source`.
    pattern_seed: seed of the noise.
    compat: paper, or backdoorbench, which cuts levels off, not rounds them.

  Raises:
    ValueError: the given picture is the same everywhere.
  """
  _check(image)
  search = functools.partial(
    universal.search,
    merge=lambda v, push: rescaled(low_pass(v + low_pass(push)), strength),
    passes=passes,
    iterations=iterations,
    fooled=fooled,
  )

  def init(key: Key, task: Task, fit: Fit) -> Params:
    shape = task.train.image.shape[1:]
    if image is not None:
      pattern = jax.image.resize(image, shape, "linear")
    elif source == "noise":
      pattern = low_pass(jax.random.normal(jax.random.key(pattern_seed), shape))
    else:
      k_clean, *keys = jax.random.split(key, 3)
      variables = learn.clean_classifier(k_clean, task, fit)
      find = functools.partial(_find, search, task.model, goal, images)
      v = programs.jit(find)(keys, variables, task.train)
      return {"pattern": _checked(v)[None]}
    return {"pattern": rescaled(pattern, strength)[None]}

  hit = levels.kept(trigger, compat)
  return poison.data_poisoning(init, hit, goal, rate)


def trigger(key: Key, images: Images, params: Params) -> Images:
  """Returns the images with the pattern added."""
  del key
  return jnp.clip(images + params["pattern"], 0, 1)


def rescaled(v: Array, strength: Scalar) -> Array:
  """Returns v shifted and scaled to fill [0, strength]; 0 where v is flat."""
  low, high = jnp.min(v), jnp.max(v)
  return strength * (v - low) / jnp.where(high > low, high - low, 1.0)


def low_pass(v: Array) -> Array:
  """Returns S(v), v: [H, W, C]."""
  down, across = (_blur(size) for size in v.shape[:2])
  return jnp.einsum("ij,jkc,lk->ilc", down, v, across)


def _blur(size: int) -> Array:
  # An even number of taps has no centre: it lies half a pixel to the right.
  place = np.arange(size)
  offset = place[None, :] - place[:, None] - 0.5
  taps = np.arange(TAPS) - (TAPS - 1) / 2
  weight = np.exp(-((offset / SIGMA) ** 2) / 2) * (abs(offset) < TAPS / 2)
  total = np.exp(-((taps / SIGMA) ** 2) / 2).sum()
  return jnp.asarray(weight / total, jnp.float32)


def _check(image: Array | None) -> None:
  if image is not None and np.ptp(image) == 0:
    raise ValueError(
      "lf.image has the same value everywhere, so it cannot be rescaled to "
      "[0, strength]: give a picture with some contrast."
    )


def _checked(v: Array) -> Array:
  if not programs.traced(v) and not v.any():
    raise ValueError(
      "lf found no trigger: the clean classifier says the target class for all "
      "searched images. Train it longer, or use source='noise'."
    )
  return v


def _find(
  search: Callable[..., Array],
  model: nn.Module,
  target: Target,
  count: int,
  keys: Sequence[Key],
  variables: Params,
  train: Dataset,
) -> Array:
  k_draw, k_search = keys
  place = jax.random.permutation(k_draw, train.size)[:count]
  batch = engine.take(train, place)
  return search(
    k_search,
    batch.image,
    target(batch.label),
    lambda x: model.apply(variables, x, train=False)[0],
  )
