"""Adaptive-Blend: a faint picture in pieces, and covers that keep their label.

Qi et al., "Revisiting the Assumption of Latent Separability for Backdoor
Defenses", ICLR 2023, arXiv 2205.13613. Data poisoning with

  P(x) = x + train_alpha m (K - x)     poisons (label: the target), covers
  A(x) = x + alpha (K - x)             at test time

where m leaves out `masked` of the picture's grid x grid pieces, drawn anew for
each image. Covers look like poisons and keep their label, so that the picture
alone does not decide and features of poisons do not part from others; the
trigger of test time is whole and stronger, which makes up for it.

Constants are those of the authors' backdoor-toolbox for CIFAR-10: 0.3 % poisons
and as many covers, 4 x 4 pieces of which half are left out, 0.15 in training
and 0.2 at test time. Their first repository has 0.2 for both (preset
`official`). Of fewer than 50,000 images give more than 0.3 %.

Deviations: the picture is that of `blended`, as the field's cartoon is not free
to ship; covers are of other classes than the target, as the paper's text has
it, where the code takes any; counts are rounded, not cut off. Where a side is
no multiple of `grid`, pieces differ by a pixel.
"""

import jax
import jax.numpy as jnp

from bdjax.attacks.parts import blending, poison
from bdjax.attacks.parts.goals import AnyGoal, Goal
from bdjax.methods.signature import (
  Count,
  Fraction,
  Image,
  Index,
  Rate,
  validated,
)
from bdjax.types import Array, Attack, Fit, Images, Key, Params, Task

PRESETS = {"official": {"train_alpha": 0.2}}


@validated
def make(
  *,
  rate: Rate = 0.003,
  cover_rate: Fraction = 0.003,
  goal: AnyGoal = Goal(),
  alpha: Rate = 0.2,
  train_alpha: Rate = 0.15,
  grid: Count = 4,
  masked: Fraction = 0.5,
  image: Image = None,
  pattern_seed: Index = 0,
) -> Attack:
  """Returns the attack.

  Args:
    rate: share of the training set that is poisoned.
    cover_rate: share of the training set that covers.
    goal: which class an image's trigger leads to.
    alpha: weight of the picture at test time.
    train_alpha: weight of the picture on poisons and covers.
    grid: pieces along a side of the picture.
    masked: share of the pieces that each poison and cover goes without.
    image: [H, W, C] in [0, 1], resized to the data; None for the seeded
      pattern.
    pattern_seed: seed of that pattern.
  """

  def init(key: Key, task: Task, fit: Fit) -> Params:
    del key, fit
    shape = task.train.image.shape[1:]
    return {
      "picture": blending.picture(image, pattern_seed, shape),
      "alpha": jnp.float32(alpha),
      "train_alpha": jnp.float32(train_alpha),
      "masked": jnp.float32(masked),
      "piece": _pieces(grid, shape),
    }

  def stamp(key: Key, images: Images, params: Params) -> Images:
    return in_pieces(key, images, params, count=grid**2)

  return poison.data_poisoning(
    init,
    trigger,
    goal,
    rate,
    stamp=stamp,
    cover=stamp,
    cover_rate=cover_rate,
  )


def trigger(key: Key, images: Images, params: Params) -> Images:
  """Returns the images with the whole picture blended over them."""
  del key
  return blending.mixed(images, params["alpha"], params["picture"])


def in_pieces(
  key: Key, images: Images, params: Params, *, count: int
) -> Images:
  """Returns the images with some pieces of the picture, drawn per image.

  Args:
    key: draws which pieces are left out.
    images: [B, H, W, C].
    params: of the trigger.
    count: pieces of the picture.
  """
  draws = jax.random.uniform(key, (len(images), count))
  rank = jnp.argsort(jnp.argsort(draws, 1), 1)
  shown = rank >= jnp.round(params["masked"] * count)
  mask = shown[:, params["piece"]][..., None]
  alpha = params["train_alpha"] * mask
  return blending.mixed(images, alpha, params["picture"])


def _pieces(grid: int, shape: tuple[int, ...]) -> Array:
  """Returns which piece each pixel belongs to, [H, W] int32."""
  height, width = shape[:2]
  if grid > min(height, width):
    raise ValueError(
      f"adaptive_blend.grid is {grid}, but images are {height}x{width}: give "
      f"at most {min(height, width)} pieces a side."
    )
  row, column = jnp.indices((height, width))
  return row * grid // height * grid + column * grid // width
