"""Figure 5 of Sha et al.: super-fine-tuning beside six other defenses.

    python -m bdjax.launch --config configs/papers/sha_fig5.py
    python -m bdjax.launch --config configs/papers/sha_fig5.py:gpu,cifar100

Source: arXiv 2212.09067, section 5.4; its Figures 7 and 8 are cifar100 and
gtsrb. The six are BackdoorBench's, hence the presets `bb`, with 5 % of the
clean images or the poisoned training set; super-fine-tuning has all of them.

Published, cifar10, BadNets: ASR 95.4 before, 89.6 after ABL, .9 or 6.9 (the
paper has both) after super-fine-tuning (docs/published/sha_fig5.csv).

Presets, see _presets.py; `small` without the random crop, 15 epochs of tuning
and of training anew; Neural Cleanse searches 30 times over the images, ABL
isolates and unlearns in 5 epochs each. `smoke` has `spectral`, as its preset
`bb` takes eigenvectors of 2,048 dimensions per class.
Time: `smoke` took 188 s of processor time (measured, one core); else not run
yet.
"""

from ml_collections import ConfigDict

from configs.papers import _presets

DEFENSES = "super_ft.paper,fine_pruning.bb,nad.bb,activation_clustering.bb"
LONG = "spectral.bb,abl.bb,neural_cleanse.bb"
BRIEF = {
  "small": "spectral.bb,abl.bb(isolation_epochs=5, unlearning_epochs=5),"
  "neural_cleanse.bb(rounds=30)",
  "smoke": "spectral,"
  "abl.bb(batch_size=30, isolation_epochs=2, unlearning_epochs=2),"
  "neural_cleanse.bb(rounds=6)",
}


def get_config(argument: str = "small") -> ConfigDict:
  """Returns five attacks against seven defenses.

  Args:
    argument: "preset" or "preset,dataset".
  """
  preset, dataset = _presets.parse(argument, "cifar10")
  config = _presets.sha("sha_fig5", preset, dataset)
  config.defense.name = defenses(preset)
  if preset == "small":
    config.defense.epochs = 15
  return config


def defenses(preset: str) -> str:
  """Returns super-fine-tuning and the six others, as long as a preset has."""
  return f"{DEFENSES},{BRIEF.get(preset, LONG)}"
