"""FT: conventional fine-tuning of the whole model on clean data.

Minimizes the mean cross-entropy over the defender's clean subset, all
parameters free, batch norm in training mode. Presets:

- `fmn`: FMN section 4, rate .01 constant, 100 epochs (`lr=0.05` in its other
  column);
- `bb`: BackdoorBench, .01 cosine, 100 epochs;
- `sha`: Sha et al., arXiv 2212.09067, the rate of pre-training, .001, constant,
  on the full clean training set.

Momentum .9 and weight decay 5e-4 are BackdoorBench's; neither paper states
them.
"""

from bdjax import learn, schedules
from bdjax.signature import (
  Annotated,
  Choice,
  Count,
  Index,
  NonNegative,
  Positive,
  validated,
)
from bdjax.types import Defended, Defense

PRESETS = {
  "fmn": {"lr": 0.01, "schedule": "constant"},
  "bb": {"lr": 0.01, "schedule": "cosine"},
  "sha": {"clean_rate": 1.0, "lr": 0.001, "schedule": "constant"},
}


@validated
def make(
  *,
  lr: Positive = 0.01,
  epochs: Index = 100,
  batch_size: Count = 256,
  schedule: Annotated[str, Choice(("constant", "cosine"))] = "constant",
  momentum: NonNegative = 0.9,
  weight_decay: NonNegative = 5e-4,
) -> Defense:
  """Returns the defense.

  Args:
    lr: learning rate, the peak if it decays.
    epochs: passes over the clean subset; 0 leaves the model as it is.
    batch_size: images per step.
    schedule: constant, or cosine to zero over all epochs.
    momentum: of SGD.
    weight_decay: coupled, on all parameters.
  """

  rate = schedules.over(schedule, lr, epochs=epochs)

  def defend(key, access, fit):
    variables = learn.fine_tune(
      key,
      access,
      fit,
      rate=rate,
      epochs=epochs,
      batch_size=batch_size,
      momentum=momentum,
      weight_decay=weight_decay,
      name="ft",
    )
    return Defended(variables)

  return Defense(defend)
