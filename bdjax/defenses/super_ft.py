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
from bdjax.methods.signature import TRAINING, Annotated, Group, validated
from bdjax.training.schedules import SuperCycles
from bdjax.types import Defense, Recipe

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
  cycles: Annotated[SuperCycles, Group.of(SuperCycles)] = SuperCycles(),
  recipe: Annotated[Recipe, TRAINING.without("lr", "schedule")] = Recipe(
    epochs=100, batch_size=256
  ),
) -> Defense:
  """Returns the defense.

  Args:
    cycles: of the rate.
    recipe: of training on the clean subset, but for its rate.
  """
  return tuning.defense(
    recipe, rate=cycles.schedule, name="super_ft", scarce="lr_max1"
  )
