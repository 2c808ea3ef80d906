"""BppAttack: fewer levels of colour, dithered or not, which hardly shows.

Wang, Zhai and Ma, "BppAttack: Stealthy and Efficient Trojan Attacks against
Deep Neural Networks via Image Quantization and Contrastive Adversarial
Learning", arXiv 2205.13383. A(x) = round((levels - 1) x) / (levels - 1), or the
same by Floyd and Steinberg's dithering, which hands each pixel's error on to
its neighbours. The adversary trains the victim: of each batch the first images
are triggered and relabelled, the next are negative, x + A(x') - x' for another
image x', and keep their label, so that noise of this size alone does not fire.

Constants: 8 levels and no dithering are the authors' code and BackdoorBench's.
A tenth of a batch each is triggered and negative, as in BackdoorBench; a fifth
each in the authors' code (preset `official`).

Deviations: x' is the next image of the batch, where the code draws from a list
of stored A(x') - x'; augmentation and recipe are the task's. Dithered images
are clipped, and not rounded to bytes in training, but are at test time. The
paper's adversarial negatives are left out, as in the authors' code.
`compat="backdoorbench"` draws one augmentation per batch, not per image, and
cuts off what bytes cannot hold (`attacks.parts.levels`).

The audited copy of the training set holds `rate` backdoor images and
`negative_rate` negative ones (COVER).
"""

import jax
import jax.numpy as jnp

from bdjax.attacks.parts import batches
from bdjax.attacks.parts.goals import AnyGoal, Goal
from bdjax.methods.signature import (
  Annotated,
  Compat,
  Range,
  Rate,
  validated,
)
from bdjax.types import Array, Attack, Images, Key, Params, Scalar, Task

PRESETS = {
  "bb": {"compat": "backdoorbench"},
  "official": {"rate": 0.2, "negative_rate": 0.2},
  "dithered": {"dither": True},
}


@validated
def make(
  *,
  rate: Rate = 0.1,
  negative_rate: Rate = 0.1,
  goal: AnyGoal = Goal(),
  levels: Annotated[int, Range(2, 256, closed=True)] = 8,
  dither: bool = False,
  compat: Compat = "paper",
) -> Attack:
  """Returns the attack.

  Args:
    rate: share of each batch that is triggered and relabelled, rounded down.
    negative_rate: share of each batch that is negative, rounded down.
    goal: which class an image's trigger leads to.
    levels: values that a colour may have, from black to white.
    dither: hand errors on to neighbours.
    compat: paper, or backdoorbench.
  """

  def trigger(key: Key | None, images: Images, params: Params) -> Images:
    del key
    return (dithered if dither else rounded)(images, params["steps"])

  def negative(key: Key, images: Images, params: Params) -> Images:
    del key
    others = jnp.roll(images, -1, 0)
    residual = trigger(None, others, params) - others
    return jnp.clip(images + residual, 0, 1)

  def init(task: Task) -> Params:
    del task
    return {"steps": jnp.float32(levels - 1)}

  names = ("bpp.rate", "bpp.negative_rate")
  stamps = batches.Stamps(trigger, negative, goal, rate, negative_rate, names)
  return batches.attack(stamps, init, compat=compat)


def rounded(images: Images, steps: Scalar) -> Images:
  """Returns the images with their colours rounded to `steps` + 1 levels."""
  return jnp.round(images * steps) / steps


def dithered(images: Images, steps: Scalar) -> Images:
  """Returns the images dithered to `steps` + 1 levels, after Floyd-Steinberg.

  Row by row, a pixel is rounded and 7/16 of its error added to the next pixel,
  and 3/16, 5/16 and 1/16 to the three below. Pixel (i, j) needs only those of
  j + 2i before its own, so that all pixels of one j + 2i are done at once.

  Args:
    images: [B, H, W, C].
    steps: between black and white.
  """
  height, width = images.shape[1:3]
  row = jnp.arange(height)
  times = jnp.arange(width + 2 * (height - 1))
  column = times[:, None] - 2 * row[None]  # [T, H], which pixel of a row is due
  inside = (column >= 0) & (column < width)
  due = images[:, row[None], jnp.clip(column, 0, width - 1)]
  due = jnp.moveaxis(due, 1, 0)  # [T, B, H, C]

  def below(errors: Array) -> Array:
    return jnp.pad(errors, ((0, 0), (1, 0), (0, 0)))[:, :-1]

  def step(errors, item):
    (one, two, three), (pixel, inside) = errors, item
    pixel = pixel + 7 / 16 * one
    pixel = pixel + below(3 / 16 * one + 5 / 16 * two + 1 / 16 * three)
    level = rounded(pixel, steps)
    error = jnp.where(inside[None, :, None], pixel - level, 0)
    return (error, one, two), level

  none = jnp.zeros_like(due[0])
  _, levels = jax.lax.scan(step, (none,) * 3, (due, inside))
  place = jnp.arange(width)[None] + 2 * row[:, None]  # [H, W], when it was due
  dots = levels[place, :, row[:, None]]  # [H, W, B, C]
  return jnp.clip(jnp.moveaxis(dots, 2, 0), 0, 1)
