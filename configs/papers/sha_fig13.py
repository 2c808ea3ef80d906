"""Figure 13 of Sha et al.: super-fine-tuning by the size of the clean set.

    python -m bdjax.launch --config configs/papers/sha_fig13.py
    python -m bdjax.launch --config configs/papers/sha_fig13.py:paper,cifar100

Source: arXiv 2212.09067, supplement A.4: 10 % to 100 % of the training set. Its
text names .1 and .2; the points between are chosen here.

Published, cifar10, Blended's ASR: 95.4 with 10 %, 4.4 with 20 %, and in Figure
4 8.1 with all of it (docs/published/sha_fig13.csv).

Presets, see _presets.py; `small` without the random crop.
Time: `smoke` took 90 s of processor time (measured, 2 busy cores); else not
run yet.
"""

from ml_collections import ConfigDict

from configs.papers import _presets


def get_config(argument: str = "small") -> ConfigDict:
  """Returns five attacks against super-fine-tuning with four clean sets.

  Args:
    argument: "preset" or "preset,dataset".
  """
  preset, dataset = _presets.parse(argument, "cifar10")
  config = _presets.sha("sha_fig13", preset, dataset)
  config.defense.name = "super_ft(clean_rate=[0.1, 0.2, 0.5, 1.0])"
  return config
