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
- `scarce`: Sha's remedy for 10 % data or less, first maximum .3;
- `toolbox`: the only other public implementation, of Backdoor-Toolbox
  (other_defenses_tool_box/super_finetuning.py): .03 / 2.5 / .05 on CIFAR-10, a
  tenth of each on GTSRB, 100 epochs of which 40 are phase 1, cycles of 10 steps
  up and 10 down, batch 128, plain SGD without momentum or decay. It tunes on
  2,000 images of the test set; here they are 4 % of the training set.
  `compat="toolbox"`: a rate is set after the step that it is meant for, so that
  all come a step late and the first comes twice. Other versions of that file
  have batch 100 or 256 and 20 % of the training set.

Batch 256 is that of Sha's attack training; momentum .9 and weight decay 5e-4
are BackdoorBench's: no paper states them for this defense.
"""

import jax.numpy as jnp

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
  "toolbox": {
    "clean_rate": 0.04,
    "lr_base": 0.03,
    "lr_max1": 2.5,
    "lr_max2": 0.05,
    "phase1_epochs": 40,
    "cycle_steps": 20,
    "epochs": 100,
    "batch_size": 128,
    "momentum": 0.0,
    "weight_decay": 0.0,
    "compat": "toolbox",
  },
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
  compat: Annotated[str, Choice(("paper", "toolbox"))] = "paper",
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
    compat: "toolbox" has the rates a step late, as Backdoor-Toolbox does.
  """

  def rate(steps):
    planned = schedules.super_finetune(
      lr_base=lr_base,
      lr_max1=lr_max1,
      lr_max2=lr_max2,
      steps_per_epoch=steps,
      phase1_epochs=phase1_epochs,
      cycle_steps=cycle_steps,
      shape=shape,
    )
    late = 1 if compat == "toolbox" else 0
    return lambda step: planned(jnp.maximum(step - late, 0))

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
