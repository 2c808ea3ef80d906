"""BadNets: a small square stamped on the image.

Gu et al., "BadNets: Identifying Vulnerabilities in the Machine Learning Model
Supply Chain", arXiv 1708.06733. Dirty-label data poisoning; the square replaces
the pixels under it, in training and at test time alike.

Published triggers: BackdoorBench's solid white 3x3 square in the bottom-right
corner (the default), its `grid` variant, and FMN's square of random colours
with an eighth of the image's side in the top-left corner (preset `fmn`).
The random colours come from `pattern_seed`, not from the run's seed, so that
all seeds of a study plant the same trigger. FMN reports that BadNets does not
converge under its interleaving; nothing here prevents the attempt.
"""

import jax
import jax.numpy as jnp

from bdjax.attacks.parts import poison
from bdjax.attacks.parts.goals import AnyGoal, Goal
from bdjax.data import patches
from bdjax.methods.signature import (
  Annotated,
  Choice,
  Image,
  Index,
  Rate,
  Size,
  validated,
)
from bdjax.types import Array, Attack, Fit, Key, Params, Task

PRESETS = {
  "bb": {},
  "fmn": {
    "rate": 0.05,
    "pattern": "random",
    "size": 1 / 8,
    "corner": "top_left",
  },
}


@validated
def make(
  *,
  rate: Rate = 0.1,
  goal: AnyGoal = Goal(),
  size: Size = 3,
  pattern: Annotated[str, Choice(("white", "grid", "random"))] = "white",
  corner: Annotated[str, Choice(("bottom_right", "top_left"))] = "bottom_right",
  pattern_seed: Index = 0,
  image: Image = None,
) -> Attack:
  """Returns the attack.

  Args:
    rate: share of the training set that is poisoned.
    goal: which class an image's trigger leads to.
    size: side of the square: pixels, or a share of the image's shorter side.
    pattern: white, grid (a checkerboard of 255 and 1) or random colours.
    corner: where the square lies, flush.
    pattern_seed: seed of the random colours.
    image: [h, w, C] in [0, 1], resized to the square, in place of a pattern.
  """

  def init(key: Key, task: Task, fit: Fit) -> Params:
    del key, fit
    shape = task.train.image.shape[1:]
    mask = patches.square("badnets.size", shape, size, corner=corner)
    height, width, channels = shape
    side = patches.in_pixels(size, min(height, width))
    origin = (0, 0) if corner == "top_left" else (height - side, width - side)
    if image is None:
      square = _square(pattern, side, channels, pattern_seed)
    else:
      square = jax.image.resize(image, (side, side, channels), "linear")[None]
    blank = jnp.zeros((1, height, width, channels))
    return {
      "mask": mask,
      "pattern": jax.lax.dynamic_update_slice(blank, square, (0, *origin, 0)),
    }

  return poison.data_poisoning(init, patches.paste, goal, rate)


def _square(pattern: str, size: int, channels: int, seed: int) -> Array:
  shape = (1, size, size, channels)
  if pattern == "random":
    return jax.random.uniform(jax.random.key(seed), shape)
  if pattern == "white":
    return jnp.ones(shape)
  dark = jnp.indices((size, size)).sum(0) % 2
  return jnp.broadcast_to(
    jnp.where(dark, 1 / 255, 1.0)[None, :, :, None], shape
  )
