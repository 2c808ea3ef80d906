"""WaNet: a smooth warp of the image, the same for all images.

Nguyen and Tran, "WaNet - Imperceptible Warping-based Backdoor Attack", arXiv
2102.10369. The adversary trains the victim: of each batch the first images are
warped and relabelled, the next are warped with noise on top and keep their
label, so that only the exact warp fires; constants from the paper and its
reference code. The warp comes from `pattern_seed`, not from the run's seed, so
that all seeds of a study plant the same trigger.

Differences from paper and reference: the victim's recipe, epochs and
augmentation are the task's; the noise images are a share of the batch, where
the reference takes twice the number of backdoor images; all2all leads to y + 1,
where the reference's leaves y. Images are not rounded to 8 bits in training,
but are at test time. Clean epochs of an interleaving regime show all images.
`compat="backdoorbench"` draws one augmentation per batch, not per image, and
cuts off what bytes cannot hold (`attacks.parts.levels`).

The audited copy of the training set holds `rate` backdoor images and
`noise_rate` noise images (COVER).
"""

import jax
import jax.numpy as jnp

from bdjax.attacks.parts import batches, levels
from bdjax.attacks.parts.goals import AnyGoal, Goal
from bdjax.data import warp
from bdjax.methods.signature import (
  Compat,
  Count,
  Index,
  NonNegative,
  Rate,
  validated,
)
from bdjax.types import Array, Attack, Images, Key, Params, Scalar, Task

PRESETS = {
  "bb": {"compat": "backdoorbench"},
  "fmn": {"rate": 0.05, "noise_rate": 0.1},
}


@validated
def make(
  *,
  rate: Rate = 0.1,
  noise_rate: Rate = 0.2,
  goal: AnyGoal = Goal(),
  grid_size: Count = 4,
  strength: NonNegative = 0.5,
  pattern_seed: Index = 0,
  compat: Compat = "paper",
) -> Attack:
  """Returns the attack.

  Args:
    rate: share of each batch that is warped and relabelled, rounded down.
    noise_rate: share of each batch that is warped with noise, rounded down.
    goal: which class an image's trigger leads to.
    grid_size: points per side of the coarse warp, k in the paper.
    strength: of the warp, s in the paper.
    pattern_seed: seed of the warp.
    compat: paper, or backdoorbench.
  """
  names = ("wanet.rate", "wanet.noise_rate")
  stamps = batches.Stamps(trigger, noisy, goal, rate, noise_rate, names)

  def init(task: Task) -> Params:
    shape = task.train.image.shape[1:3]
    params = {"grid": _grid(shape, grid_size, strength, pattern_seed)}
    return params | levels.lost(task.model, compat)

  return batches.attack(stamps, init, compat=compat)


def trigger(key: Key | None, images: Images, params: Params) -> Images:
  """Returns the warped images."""
  del key
  return warp.sample(images, params["grid"])


def noisy(key: Key, images: Images, params: Params) -> Images:
  """Returns the images warped with noise on top, drawn per image and pixel."""
  grid = params["grid"]
  shape = (images.shape[0], *grid.shape[1:])
  noise = jax.random.uniform(key, shape, minval=-1.0) / grid.shape[1]
  return warp.sample(images, jnp.clip(grid + noise, -1, 1))


def _grid(
  size: tuple[int, int], points: int, strength: Scalar, seed: int
) -> Array:
  """Returns the sampling grid [1, H, W, 2] of the warp."""
  if points > min(size):
    raise ValueError(
      f"wanet.grid_size is {points}, but images have {min(size)} pixels a "
      "side: give at most that."
    )
  height, width = size
  coarse = jax.random.uniform(
    jax.random.key(seed), (points, points, 2), minval=-1.0
  )
  coarse = coarse / jnp.abs(coarse).mean()
  rows = warp.bicubic_matrix(points, height)
  columns = warp.bicubic_matrix(points, width)
  field = jnp.einsum(
    "hi,wj,ijc->hwc", rows, columns, coarse, precision="highest"
  )
  grid = warp.identity_grid(height, width) + strength * field[None] / height
  return jnp.clip(grid, -1, 1)
