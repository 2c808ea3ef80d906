"""Label-consistent: images made hard to label, so that a pattern is learned.

Turner, Tsipras and Madry, "Label-Consistent Backdoor Attacks", arXiv
1912.02771, by adversarial perturbations. Clean-label data poisoning: images of
the target class are pushed to where a classifier of the adversary's no longer
knows them (`attacks.parts.adversarial`); what is left to learn them by is a
pattern in the corners, A(x) = clip(x + amplitude s) with s = -1, 0 or 1. At
test time the pattern alone is stamped.

Constants are BackdoorBench's: perturbations of at most 16/255 in 100 steps of
1.5/255, the pattern in all corners at full strength, which is black and white;
its images come from an adversarially trained classifier (preset `bb`). Preset
`official` has the settings of the authors' code: the Euclidean norm, 300 levels
(300/255), and the bottom-right corner alone.

Choices and deviations:
- The adversary's classifier is the clean one that other attacks use too.
  `surrogate="robust"` trains one on images that are made hard at each step, by
  10 steps of 2/255 within 8/255: eleven times the cost. With which of the two
  the paper's images were made is not verified.
- The rate is a share of the whole training set: 0.1 of ten equal classes is the
  whole target class, BackdoorBench's default and the authors'.
- The length of a step in `official` is chosen: 2.5 times the bound over the
  number of steps. The paper's generative variant is left out.
- Hard images are rounded to bytes, where BackdoorBench cuts off.
- A cell of the pattern has a pixel per 32 of the image's shorter side, and one
  at least; BackdoorBench resizes the pattern to the same effect.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from bdjax.attacks.parts import adversarial, poison
from bdjax.attacks.parts.adversarial import Ascent
from bdjax.attacks.parts.goals import Goal, OneGoal
from bdjax.machine import programs
from bdjax.methods.signature import (
  Annotated,
  Choice,
  Count,
  Fraction,
  Positive,
  Rate,
  validated,
)
from bdjax.training import engine, learn
from bdjax.types import (
  POISON,
  Array,
  Attack,
  Dataset,
  Fit,
  Images,
  Key,
  Params,
  Task,
)

PRESETS = {
  "bb": {"surrogate": "robust"},
  "official": {
    "norm": "l2",
    "eps": 300 / 255,
    "step": 2.5 * 300 / 255 / 100,
    "corners": "bottom_right",
  },
}
ROBUST = Ascent(8 / 255, 2 / 255, 10)  # of the robust classifier's training
PART = 100  # images made hard at once
# The pattern of the right corners, 1 white and -1 black; mirrored on the left.
_CELLS = np.array([[-1, -1, 1], [-1, 1, -1], [1, -1, 1]])


@validated
def make(
  *,
  rate: Rate = 0.1,
  goal: OneGoal = Goal(),
  eps: Positive = 16 / 255,
  step: Positive = 1.5 / 255,
  rounds: Count = 100,
  norm: Annotated[str, Choice(adversarial.NORMS)] = "linf",
  surrogate: Annotated[str, Choice(("clean", "robust"))] = "clean",
  corners: Annotated[str, Choice(("all", "bottom_right"))] = "all",
  amplitude: Fraction = 1.0,
) -> Attack:
  """Returns the attack.

  Args:
    rate: share of the training set that is poisoned, all of the target class.
    goal: which class an image's trigger leads to.
    mode: all2one; a clean label says nothing about any other class.
    eps: bound on the perturbation of an image, in units of [0, 1].
    step: length of a step, in the same units.
    rounds: steps of the perturbation.
    norm: linf bounds every entry, l2 the length over the whole image.
    surrogate: classifier that images are made hard for: clean, or robust.
    corners: where the pattern lies: all, or bottom_right.
    amplitude: of the pattern; 1 makes it black and white.
  """
  ascent = Ascent(eps, step, rounds, norm)

  def init(key: Key, task: Task, fit: Fit) -> Params:
    sign = pattern(task.train.image.shape[1:], corners)
    if surrogate == "robust":
      variables = adversarial.robust_classifier(key, task, fit, ROBUST)
    else:
      variables = learn.clean_classifier(key, task, fit)
    return {
      "sign": sign,
      "amplitude": jnp.float32(amplitude),
      "surrogate": variables,
    }

  def prepare(task: Task, params: Params, role: Array) -> Dataset:
    make_hard = functools.partial(hardened, task.model, ascent)
    image = programs.jit(make_hard)(params["surrogate"], task.train, role)
    return task.train.replace(image=image)

  return poison.data_poisoning(
    init, trigger, goal, rate, clean_label=True, prepare=prepare
  )


def trigger(key: Key, images: Images, params: Params) -> Images:
  """Returns the images with the pattern in their corners."""
  del key
  return jnp.clip(images + params["amplitude"] * params["sign"], 0, 1)


def pattern(shape: tuple[int, ...], corners: str) -> Array:
  """Returns the pattern's signs, [1, H, W, 1], 0 where nothing is stamped.

  Args:
    shape: (H, W, C) of the images.
    corners: all, or bottom_right.

  Raises:
    ValueError: the corners overlap.
  """
  height, width = shape[:2]
  cell = max(1, min(height, width) // 32)
  side = 3 * cell
  if 2 * side > min(height, width):
    raise ValueError(
      f"label_consistent stamps {side}x{side} pixels in the corners, but "
      f"images are {height}x{width}: give images of {2 * side} pixels a side."
    )
  right = np.kron(_CELLS, np.ones((cell, cell)))
  sign = np.zeros((height, width), np.float32)
  sign[-side:, -side:] = right
  if corners == "all":
    sign[:side, -side:] = right
    sign[:side, :side] = sign[-side:, :side] = right[:, ::-1]
  return jnp.asarray(sign)[None, :, :, None]


def hardened(
  model: nn.Module,
  ascent: Ascent,
  variables: Params,
  data: Dataset,
  role: Array,
) -> Array:
  """Returns the data's bytes with its poisons hard for a classifier.

  The others cost nothing: poisons are taken first, and who comes after them is
  left out.

  Args:
    model: of the classifier.
    ascent: how far images are pushed.
    variables: the classifier's.
    data: N clean examples.
    role: [N]; only POISON examples change.
  """
  poisoned = role == POISON
  order = jnp.argsort(~poisoned)
  part = min(PART, data.size)

  def one(i: Array, image: Array) -> Array:
    place = jnp.minimum(i * part + jnp.arange(part), data.size - 1)
    index = order[place]
    batch = engine.take(data, index)
    hard = adversarial.harder(
      model, variables, batch.image, batch.label, ascent
    )
    keep = poisoned[index][:, None, None, None]
    hard = jnp.where(keep, poison.to_bytes(hard), data.image[index])
    return image.at[index].set(hard)

  parts = -(-poisoned.sum() // part)
  return jax.lax.fori_loop(0, parts, one, data.image)
