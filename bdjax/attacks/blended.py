"""Blended: a picture mixed faintly over the whole image.

Chen et al., "Targeted Backdoor Attacks on Deep Learning Systems Using Data
Poisoning", arXiv 1712.05526. Dirty-label data poisoning with
A(x) = (1 - alpha) x + alpha K, alpha = 0.2 in training and at test time, as in
BackdoorBench (the paper's own strengths are not verified).

Deviation: the field's picture K, a cartoon cat, is not free to ship. The
default is a seeded full-frame pattern of smooth random colours; give the
picture's file with `image` to use it, or any other. Stamped images are rounded
to bytes; `compat="backdoorbench"` truncates them, as that benchmark does.
"""

import jax.numpy as jnp

from bdjax.attacks.parts import blending, levels, poison
from bdjax.attacks.parts.goals import AnyGoal, Goal
from bdjax.methods.signature import Compat, Image, Index, Rate, validated
from bdjax.types import Attack, Fit, Images, Key, Params, Task

PRESETS = {"bb": {"compat": "backdoorbench"}, "fmn": {"rate": 0.05}}


@validated
def make(
  *,
  rate: Rate = 0.1,
  goal: AnyGoal = Goal(),
  alpha: Rate = 0.2,
  image: Image = None,
  pattern_seed: Index = 0,
  compat: Compat = "paper",
) -> Attack:
  """Returns the attack.

  Args:
    rate: share of the training set that is poisoned.
    goal: which class an image's trigger leads to.
    alpha: weight of the picture.
    image: [H, W, C] in [0, 1], resized to the data; None for the seeded
      pattern.
    pattern_seed: seed of that pattern.
    compat: paper, or backdoorbench, which cuts levels off, not rounds them.
  """

  def init(key: Key, task: Task, fit: Fit) -> Params:
    del key, fit
    shape = task.train.image.shape[1:]
    picture = blending.picture(image, pattern_seed, shape)
    return {"picture": picture, "alpha": jnp.float32(alpha)}

  hit = levels.kept(trigger, compat)
  return poison.data_poisoning(init, hit, goal, rate)


def trigger(key: Key, images: Images, params: Params) -> Images:
  """Returns the images with the picture blended over them."""
  del key
  return blending.mixed(images, params["alpha"], params["picture"])
