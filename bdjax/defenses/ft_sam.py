"""FT-SAM: fine-tuning with sharpness-aware minimization.

Zhu et al., "Enhancing Fine-Tuning Based Backdoor Defense with Sharpness-Aware
Minimization", arXiv 2304.11823. Each step climbs to the worst point within
radius rho (relative to each parameter's size: the adaptive form) and descends
with the gradient found there; batch-norm statistics are the first pass's.
Label smoothing .1 and rho = 2 as in BackdoorBench, by the same authors; the
clean subset is drawn class-balanced there, as in preset `bb`.

FMN's re-run says "SAM, rho = 2" and no more; preset `fmn` takes hard labels and
a constant rate, as in FMN's plain fine-tuning. The adaptive form is assumed,
since a plain radius of 2 moves the weights very far (`adaptive=False`).
Deviation: BackdoorBench advances its cosine every iteration with a period of
100, an accidental cycle of about 20 epochs; here it decays once over all epochs
unless `compat="backdoorbench"`. A constant rate is constant in both.
"""

import optax

from bdjax.defenses.parts import tuning
from bdjax.methods.signature import (
  Annotated,
  Compat,
  NonNegative,
  Range,
  Training,
  validated,
)
from bdjax.training import learn, optimizers, schedules
from bdjax.types import Defense, Recipe, Scalar

PRESETS = {
  "bb": {"balanced": True, "compat": "backdoorbench"},
  "fmn": {"smoothing": 0.0, "schedule": "constant"},
}
BB_PERIOD = 100  # BackdoorBench's cosine half-period, in iterations


@validated
def make(
  *,
  recipe: Training = Recipe(
    lr=0.01, epochs=100, batch_size=256, schedule="cosine"
  ),
  rho: NonNegative = 2.0,
  adaptive: bool = True,
  smoothing: Annotated[Scalar, Range(0.0, 1.0, closed=True)] = 0.1,
  compat: Compat = "paper",
) -> Defense:
  """Returns the defense.

  Args:
    recipe: of training on the clean subset.
    rho: radius of the perturbation.
    adaptive: measure the radius relative to each parameter's size.
    smoothing: of labels.
    compat: "backdoorbench" advances the cosine as that benchmark does.
  """

  def rate(steps):
    if compat == "backdoorbench" and recipe.schedule == "cosine":
      cosine = optax.cosine_decay_schedule(recipe.lr, BB_PERIOD)
      return lambda t: cosine(BB_PERIOD - abs(t % (2 * BB_PERIOD) - BB_PERIOD))
    return schedules.over(recipe)(steps)

  return tuning.defense(
    recipe,
    rate=rate,
    wrap=lambda tx: optimizers.sam(tx, rho=rho, adaptive=adaptive),
    loss=learn.cross_entropy(smoothing=smoothing),
    name="ft_sam",
  )
