"""Figure 14 of Sha et al.: conventional fine-tuning at three rates.

    python -m bdjax.launch --config configs/papers/sha_fig14.py
    python -m bdjax.launch --config configs/papers/sha_fig14.py:gpu

Source: arXiv 2212.09067, supplement A.4, on all clean data. The report's curves
are the figure: ASR and CA by epoch.

Published in words alone, so there is no file of it: at the rate of pre-training
ASR "remains high even after 100 epochs"; from .0001 to .001 the trigger is
forgotten gradually; at .1 within one epoch, at a cost in accuracy.

Presets, see _presets.py; `small` without the random crop.
Time: `smoke` took 63 s of processor time (measured, 2 busy cores); else not
run yet.
"""

from ml_collections import ConfigDict

from configs.papers import _presets


def get_config(argument: str = "small") -> ConfigDict:
  """Returns five attacks against fine-tuning at three rates.

  Args:
    argument: "preset" or "preset,dataset".
  """
  preset, dataset = _presets.parse(argument, "cifar10")
  config = _presets.sha("sha_fig14", preset, dataset)
  config.defense.name = "ft.sha(lr=[0.0001, 0.001, 0.1])"
  config.evaluate.curve_every = 1
  return config
