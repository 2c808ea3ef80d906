"""Figure 4 of Sha et al.: super-fine-tuning of models used as they are.

    python -m bdjax.launch --config configs/papers/sha_fig4.py
    python -m bdjax.launch --config configs/papers/sha_fig4.py:paper,cifar100

Source: arXiv 2212.09067, section 5.3. Five attacks; fine-tuning at the rate of
pre-training and super-fine-tuning, each on all clean data. The report's curves
are the figure: ASR and CA by epoch.

Published, cifar10, Blended's ASR: 99.8 before, 97.8 after 100 epochs of
fine-tuning, 8.1 after super-fine-tuning (docs/published/sha_fig4.csv).

Presets, see _presets.py; `small` without the random crop. In `gpu` and `small`
fine-tuning keeps the paper's .001, though planting is at .05.
Time: `smoke` took 57 s of processor time (measured, 2 busy cores); `small` is
925 TFLOP (estimated), not run yet.
"""

from ml_collections import ConfigDict

from configs.papers import _presets


def get_config(argument: str = "small") -> ConfigDict:
  """Returns five attacks against two fine-tunings.

  Args:
    argument: "preset" or "preset,dataset".
  """
  preset, dataset = _presets.parse(argument, "cifar10")
  config = _presets.sha("sha_fig4", preset, dataset)
  config.defense.name = "ft.sha,super_ft.paper"
  config.evaluate.curve_every = 1
  return config
