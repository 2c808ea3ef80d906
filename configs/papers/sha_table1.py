"""Table 1 of Sha et al.: super-fine-tuning of three further attacks.

    python -m bdjax.launch --config configs/papers/sha_table1.py
    python -m bdjax.launch --config configs/papers/sha_table1.py:paper

Source: arXiv 2212.09067, supplement A.3: IMC, Latent and Handcrafted, which all
start from a clean classifier. Dataset and metric are not stated; read as
CIFAR-10 and ASR. Each attack keeps its own paper's settings, but IMC
and Latent train by the study's recipe.

Published, ASR before and after: IMC 98.1 and 16.3, Latent 21.3 and 9.9,
Handcrafted 97.1 and 8.3 (docs/published/sha_table1.csv).

Presets, see _presets.py; `small` without the random crop.
Time: `smoke` took 44 s of processor time (measured, 2 busy cores); else not
run yet.
"""

from ml_collections import ConfigDict

from configs.papers import _presets


def get_config(argument: str = "small") -> ConfigDict:
  """Returns three attacks against super-fine-tuning.

  Args:
    argument: "preset" or "preset,dataset".
  """
  preset, dataset = _presets.parse(argument, "cifar10")
  config = _presets.sha("sha_table1", preset, dataset)
  config.attack.name = "imc,latent,handcrafted"
  config.defense.name = "super_ft.paper"
  return config
