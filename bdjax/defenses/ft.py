"""FT: conventional fine-tuning on clean data.

Minimizes the mean cross-entropy over the defender's clean subset, all
parameters free, batch norm in training mode. Where the model has a head of its
own (scenarios transfer and encoder), `part="head"` trains that alone, on the
features of a backbone that does not change. Presets:

- `fmn`: FMN section 4, rate .01 constant, 100 epochs (`lr=0.05` in its other
  column);
- `bb`: BackdoorBench, .01 cosine, 100 epochs;
- `sha`: Sha et al., arXiv 2212.09067, the rate of pre-training, .001, constant,
  on the full clean training set;
- `encoder`: Sha et al.'s whole-model fine-tuning of an encoder and its head,
  Adam at 3e-4 for 200 epochs (supplement A.2), batch 256 as in pre-training;
- `classifier`: the head alone as in BadEncoder's code (Jia et al., arXiv
  2108.00352), Adam at 1e-4 for 500 epochs of batch 64.

Momentum .9 and weight decay 5e-4 are BackdoorBench's; neither paper states
them.
"""

from bdjax.defenses.parts import tuning
from bdjax.methods.signature import Annotated, Choice, Training, validated
from bdjax.types import Defense, Recipe

PRESETS = {
  "fmn": {"lr": 0.01, "schedule": "constant"},
  "bb": {"lr": 0.01, "schedule": "cosine"},
  "sha": {"clean_rate": 1.0, "lr": 0.001, "schedule": "constant"},
  "encoder": {
    "clean_rate": 1.0,
    "optimizer": "adam",
    "lr": 3e-4,
    "epochs": 200,
    "weight_decay": 0.0,
  },
  "classifier": {
    "clean_rate": 1.0,
    "part": "head",
    "optimizer": "adam",
    "lr": 1e-4,
    "epochs": 500,
    "batch_size": 64,
    "weight_decay": 0.0,
  },
}


@validated
def make(
  *,
  recipe: Training = Recipe(
    lr=0.01, epochs=100, batch_size=256, schedule="constant"
  ),
  optimizer: Annotated[str, Choice(("sgd", "adam"))] = "sgd",
  part: Annotated[str, Choice(tuning.PARTS)] = "all",
) -> Defense:
  """Returns the defense.

  Args:
    recipe: of training on the clean subset.
    optimizer: sgd or adam.
    part: all, or head: the new head on a backbone that does not change.
  """
  return tuning.defense(recipe, optimizer=optimizer, part=part, name="ft")
