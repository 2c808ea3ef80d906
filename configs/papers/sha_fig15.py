"""Figure 15 of Sha et al.: super-fine-tuning by LR MAX1, with little data.

    python -m bdjax.launch --config configs/papers/sha_fig15.py
    python -m bdjax.launch --config configs/papers/sha_fig15.py:gpu,cifar100

Source: arXiv 2212.09067, supplement A.2 and A.4: .1 to .5, with 10 % of the
clean data. The text names .1 and .3; .2, .4 and .5 fill the range.

Published: on cifar100 Blended's ASR falls from 98.8 at .1 to .4 at .3; on
cifar10 its clean accuracy from 91.9 to 88.1 (docs/published/sha_fig15.csv).

Presets, see _presets.py; `small` without the random crop.
Time: `smoke` took 85 s of processor time (measured, 2 busy cores); else not
run yet.
"""

from ml_collections import ConfigDict

from configs.papers import _presets


def get_config(argument: str = "small") -> ConfigDict:
  """Returns five attacks against super-fine-tuning with five peaks.

  Args:
    argument: "preset" or "preset,dataset".
  """
  preset, dataset = _presets.parse(argument, "cifar10")
  config = _presets.sha("sha_fig15", preset, dataset)
  config.defense.name = "super_ft(lr_max1=[0.1, 0.2, 0.3, 0.4, 0.5])"
  config.defense.clean_rate = 0.1
  return config
