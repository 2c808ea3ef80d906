"""L2-inv: a faint dense perturbation of bounded Euclidean length.

Li et al., "Invisible Backdoor Attacks on Deep Neural Networks via
Steganography and Regularization", arXiv 1909.02742, with p = 2. Dirty-label
data poisoning with A(x) = clip(x + delta), one delta for all images.

Reconstructed: the authors released triggers for CIFAR-10 and no generator, so
the numbers here are this module's, and published ones cannot be matched
exactly. A clean classifier's neurons with the largest outgoing weights are
driven towards `amplify` times their usual activity, and the length of delta is
penalized. Where the paper lowers the norm bit by bit until it fits, delta is
projected onto the ball of radius `norm` after every step. The radius is in
units of [0, 1] over a whole 32 x 32 x 3 image and is not scaled for others:
larger images need a larger one. Rounding to 8 bits may add to the length.

Give the released picture (or any other) with `image` to add it instead; a file
can only brighten, an array may hold negative numbers too. The default rate,
5 %, is the one that Forget-Me-Not's study uses.
"""

import functools

import jax
import optax
from optax.projections import projection_l2_ball

from bdjax.attacks.parts import poison, universal
from bdjax.attacks.parts.goals import AnyGoal, Goal
from bdjax.attacks.parts.neurons import Excitation, Exciting, check, excite
from bdjax.machine import programs
from bdjax.methods.signature import (
  Added,
  NonNegative,
  Positive,
  Rate,
  validated,
)
from bdjax.training import learn
from bdjax.types import Attack, Fit, Key, Params, Task

PRESETS = {"fmn": {"rate": 0.05}}


@validated
def make(
  *,
  rate: Rate = 0.05,
  goal: AnyGoal = Goal(),
  norm: Positive = 2.0,
  beta: NonNegative = 0.01,
  excitation: Exciting = Excitation(lr=0.01),
  image: Added = None,
) -> Attack:
  """Returns the attack.

  Args:
    rate: share of the training set that is poisoned.
    goal: which class an image's trigger leads to.
    norm: bound on the Euclidean length of the perturbation.
    beta: weight of that length beside the neurons' relative squared error.
    excitation: how neurons are amplified by the perturbation.
    image: [H, W, C] in [-1, 1] to add instead, resized to the data; None to
      optimize.
  """

  def init(key: Key, task: Task, fit: Fit) -> Params:
    if image is not None:
      picture = jax.image.resize(image, task.train.image.shape[1:], "linear")
      return {"delta": picture[None]}
    check(task, excitation.neurons)
    k_clean, k_delta = jax.random.split(key)
    variables = learn.clean_classifier(k_clean, task, fit)
    optimize = functools.partial(
      excite,
      how=excitation,
      constrain=lambda i, delta, *_: projection_l2_ball(delta, norm),
      penalty=lambda delta: beta * optax.tree.norm(delta),
    )
    return {"delta": programs.jit(optimize)(k_delta, task, variables)}

  return poison.data_poisoning(init, universal.added, goal, rate)
