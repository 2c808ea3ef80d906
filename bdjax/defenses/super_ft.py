"""Super-FT: fine-tuning with a two-phase cyclical learning rate.

Sha et al., "Fine-Tuning Is All You Need to Mitigate Backdoor Attacks",
arXiv 2212.09067, section 3. The objective is that of fine-tuning; large rates
forget the backdoor, small ones regain accuracy.

The papers contradict each other on the constants (see `training.schedules`).
Presets hold each reading:

- `paper`: supplement A.2, on the full clean training set;
- `main_text`: section 3, base .001 and second maximum .01;
- `shen`: A.2's other second maximum, .005;
- `fmn`: FMN's re-run, 20 % clean;
- `scarce`: Sha's remedy for 10 % data or less, first maximum .3.

Batch 256 is that of Sha's attack training; momentum .9 and weight decay 5e-4
are BackdoorBench's: no paper states them for this defense.
"""

from bdjax.defenses.parts import tuning
from bdjax.methods.signature import (
  TRAINING,
  Annotated,
  Choice,
  Count,
  Cycle,
  NonNegative,
  Positive,
  validated,
)
from bdjax.training import schedules
from bdjax.types import Defended, Defense, Recipe

PRESETS = {
  "paper": {"clean_rate": 1.0},
  "main_text": {"lr_base": 1e-3, "lr_max2": 1e-2},
  "shen": {"lr_max2": 5e-3},
  "fmn": {"clean_rate": 0.2},
  "scarce": {"lr_max1": 0.3},
}


@validated
def make(
  *,
  lr_base: NonNegative = 3e-4,
  lr_max1: Positive = 0.1,
  lr_max2: Positive = 1e-3,
  phase1_epochs: Count = 10,
  cycle_steps: Cycle = None,
  shape: Annotated[str, Choice(("triangle", "sawtooth"))] = "triangle",
  recipe: Annotated[Recipe, TRAINING.without("lr", "schedule")] = Recipe(
    epochs=100, batch_size=256
  ),
) -> Defense:
  """Returns the defense.

  Args:
    lr_base: rate between cycles.
    lr_max1: peak rate of phase 1; raise it to .3 when clean data is scarce.
    lr_max2: peak rate of phase 2.
    phase1_epochs: length of phase 1.
    cycle_steps: steps of one up-and-down; None keeps four cycles in phase 1.
    shape: triangle or sawtooth.
    recipe: of training on the clean subset, but for its rate.
  """

  def rate(steps):
    return schedules.super_finetune(
      lr_base=lr_base,
      lr_max1=lr_max1,
      lr_max2=lr_max2,
      steps_per_epoch=steps,
      phase1_epochs=phase1_epochs,
      cycle_steps=cycle_steps,
      shape=shape,
    )

  def defend(key, access, fit):
    variables = tuning.fine_tune(
      key,
      access,
      fit,
      recipe,
      rate=rate,
      name="super_ft",
    )
    return Defended(variables)

  return Defense(defend, scarce="lr_max1")
