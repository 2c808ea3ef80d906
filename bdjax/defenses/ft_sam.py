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
unless `compat="backdoorbench"`.
"""

import optax

from bdjax.defenses.parts import tuning
from bdjax.methods.signature import (
  Annotated,
  Choice,
  Count,
  Index,
  NonNegative,
  Positive,
  Range,
  validated,
)
from bdjax.training import learn, optimizers, schedules
from bdjax.types import Defended, Defense, Scalar

PRESETS = {
  "bb": {"balanced": True, "compat": "backdoorbench"},
  "fmn": {"smoothing": 0.0, "schedule": "constant"},
}
BB_PERIOD = 100  # BackdoorBench's cosine half-period, in iterations


@validated
def make(
  *,
  lr: Positive = 0.01,
  rho: NonNegative = 2.0,
  adaptive: bool = True,
  smoothing: Annotated[Scalar, Range(0.0, 1.0, closed=True)] = 0.1,
  epochs: Index = 100,
  batch_size: Count = 256,
  schedule: Annotated[str, Choice(("constant", "cosine"))] = "cosine",
  momentum: NonNegative = 0.9,
  weight_decay: NonNegative = 5e-4,
  compat: Annotated[str, Choice(("paper", "backdoorbench"))] = "paper",
) -> Defense:
  """Returns the defense.

  Args:
    lr: learning rate, the peak if it decays.
    rho: radius of the perturbation.
    adaptive: measure the radius relative to each parameter's size.
    smoothing: of labels.
    epochs: passes over the clean subset.
    batch_size: images per step.
    schedule: constant, or cosine to zero over all epochs.
    momentum: of SGD.
    weight_decay: coupled, on all parameters.
    compat: "backdoorbench" advances the cosine as that benchmark does.
  """

  def rate(steps):
    if compat == "backdoorbench":
      cosine = optax.cosine_decay_schedule(lr, BB_PERIOD)
      return lambda t: cosine(BB_PERIOD - abs(t % (2 * BB_PERIOD) - BB_PERIOD))
    return schedules.over(schedule, lr, epochs=epochs)(steps)

  def defend(key, access, fit):
    variables = tuning.fine_tune(
      key,
      access,
      fit,
      rate=rate,
      epochs=epochs,
      batch_size=batch_size,
      momentum=momentum,
      weight_decay=weight_decay,
      wrap=lambda tx: optimizers.sam(tx, rho=rho, adaptive=adaptive),
      loss=learn.cross_entropy(smoothing=smoothing),
      name="ft_sam",
    )
    return Defended(variables)

  return Defense(defend)
