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
from bdjax.machine import notes
from bdjax.methods.signature import (
  TRAINING,
  Annotated,
  Choice,
  Group,
  validated,
)
from bdjax.training.schedules import SuperCycles
from bdjax.types import Defense, Recipe, Schedule

PRESETS = {
  "paper": {"clean_rate": 1.0},
  "main_text": {"clean_rate": 1.0, "lr_base": 1e-3, "lr_max2": 1e-2},
  "shen": {"clean_rate": 1.0, "lr_max2": 5e-3},
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
  cycles: Annotated[SuperCycles, Group.of(SuperCycles)] = SuperCycles(),
  recipe: Annotated[Recipe, TRAINING.without("lr", "schedule")] = Recipe(
    epochs=100, batch_size=256
  ),
  compat: Annotated[str, Choice(("paper", "toolbox"))] = "paper",
) -> Defense:
  """Returns the defense.

  Args:
    cycles: of the rate.
    recipe: of training on the clean subset, but for its rate.
    compat: "toolbox" has the rates a step late, as Backdoor-Toolbox does.
  """

  def rate(steps_per_epoch: int) -> Schedule:
    _check_length(recipe.epochs, cycles.phase1_epochs)
    planned = cycles.schedule(steps_per_epoch)
    if compat == "toolbox":
      return lambda step: planned(jnp.maximum(step - 1, 0))
    return planned

  return tuning.defense(recipe, rate=rate, name="super_ft", scarce="lr_max1")


def _check_length(epochs: int, phase1: int) -> None:
  """Says that phase 2 never runs, which rehearsals and trial runs may mean."""
  if 0 < epochs <= phase1:
    notes.say(
      f"super_ft has {epochs} epochs and phase1_epochs is {phase1}, so that "
      "phase 2, which regains accuracy, never runs; give more epochs, or a "
      "smaller phase1_epochs."
    )
