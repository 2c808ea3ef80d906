"""Figure 6 of Sha et al.: what defenses cost.

    python -m bdjax.launch --config configs/papers/sha_fig6.py
    python -m bdjax.launch --config configs/papers/sha_fig6.py:gpu,cifar100

Source: arXiv 2212.09067, section 5.4: GPU hours of the defenses of Figure 5, on
all its datasets. Here BadNets and Blended, the attacks that the text gives
hours of, and fine-tuning beside them. Hours are the report's device hours:
training without compilation and evaluation; the paper does not say what it
counts. They compare with the paper's on an NVIDIA DGX-A100 only.

Published, cifar100, BadNets: Neural Cleanse .997 h, super-fine-tuning .147 h
(docs/published/sha_fig6.csv).

Presets as in sha_fig5.py.
Time: `smoke` took 52 s of processor time (measured, 2 busy cores); else not
run yet.
"""

from ml_collections import ConfigDict

from configs.papers import _presets, sha_fig5


def get_config(argument: str = "small") -> ConfigDict:
  """Returns two attacks against eight defenses.

  Args:
    argument: "preset" or "preset,dataset".
  """
  preset, dataset = _presets.parse(argument, "cifar10")
  config = _presets.sha("sha_fig6", preset, dataset)
  config.attack.name = "badnets,blended"
  config.defense.name = "ft.sha," + sha_fig5.defenses(preset)
  config.evaluate.curve_images = 0
  if preset == "small":
    config.defense.epochs = 15
  return config
