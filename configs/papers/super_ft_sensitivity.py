"""Beyond the papers: what super-fine-tuning owes to cycle length and LR MAX1.

    python -m bdjax.launch --config configs/papers/super_ft_sensitivity.py
    python -m bdjax.launch --config configs/papers/super_ft_sensitivity.py:gpu

Sha et al. (arXiv 2212.09067) say of a cycle only "several iterations" and "500
as number of iterations", Forget-Me-Not nothing; the default keeps four cycles
in phase 1. Here both are swept on Blended, planted conventionally and by FMN,
with FMN's 20 % of clean images and three seeds. `cycle_steps` are steps of one
up-and-down: in `paper` and `gpu` the 10 epochs of phase 1 have 400 steps (the
default is 100), in `small` 320 (80), in `smoke` 40 (10).

Published of it are two values of LR MAX1 only (docs/published/sha_fig15.csv).

Presets, see _presets.py; all have three seeds, `smoke` two. `small` has 12
settings of 6 models, and differs from the others: TrojanNN, because 10,000
images do not plant Blended fully under FMN (docs/results_small.md); and peaks
of .025 to .075, which are for its batches of 64 what .1 to .3 are for 256.
--config.sweep.width=8 trains eight at once on a GPU, with curves of the loss
alone.
Time: `smoke` took 47 s of processor time (measured, one core); `small` about
an hour of one core per model (measured, both regimes, two seeds); else not run
yet. What came out is in docs/results_small.md.
"""

from ml_collections import ConfigDict

from configs.papers import _presets

CYCLES = {"small": (4, 20, 80, 320), "smoke": (4, 10)}
PEAKS = {"small": (0.025, 0.05, 0.075)}


def get_config(argument: str = "small") -> ConfigDict:
  """Returns super-fine-tuning over two of its constants, and seeds.

  Args:
    argument: "preset" or "preset,dataset".
  """
  preset, dataset = _presets.parse(argument, "cifar10")
  config = _presets.sized("super_ft_sensitivity", preset, dataset)
  attack = "trojaning" if preset == "small" else "blended"
  config.attack.name = f"{attack}.fmn"
  config.regime.name = "conventional,fmn"
  cycles = CYCLES.get(preset, (10, 50, 100, 500))
  peaks = list(PEAKS.get(preset, (0.05, 0.1, 0.3)))
  config.defense.name = f"super_ft.fmn(lr_max1={peaks}, cycle_steps={cycles})"
  config.seeds = (0, 1) if preset == "smoke" else (0, 1, 2)
  return config
