"""Table 1 of Forget-Me-Not: what seven attacks plant under FMN, and BadNets.

    python -m bdjax.launch --config configs/papers/fmn_table1.py
    python -m bdjax.launch --config configs/papers/fmn_table1.py:gpu,celeba8

Source: "Forget-Me-Not: Making Backdoor Hard to be Forgotten in Finetuning"
(anonymous submission to ICLR 2024), section 4.2. Datasets: cifar10 (default),
celeba8, imagenet10. L0-inv and L2-inv are the paper's on CIFAR-10 only. BadNets
is not in its table, but in its text: it "fails to converge" under FMN.

Published on CIFAR-10, CA / ASR: Blended 93.02 / 100, TrojanNN 94.00 / 99.98,
LIRA 94.26 / 100; the rest is in docs/published/fmn_table1.csv.

Presets, see _presets.py; the paper names no epochs, so `paper` has 100 poisoned
and 100 clean ones. `smoke` shows one dataset.
Time: `smoke` took 146 s of processor time (measured, one core); else not run
yet.
"""

from ml_collections import ConfigDict

from configs.papers import _presets

ATTACKS = ("blended", "trojaning", "inputaware", "lira", "narcissus")
CIFAR_ONLY = ("l0_inv", "l2_inv")


def get_config(argument: str = "small") -> ConfigDict:
  """Returns eight attacks under FMN, no defense.

  Args:
    argument: "preset" or "preset,dataset".
  """
  preset, dataset = _presets.parse(argument, "cifar10")
  config = _presets.sized("fmn_table1", preset, dataset)
  tiny = dataset in ("cifar10", "synthetic")
  attacks = ATTACKS + CIFAR_ONLY if tiny else ATTACKS
  attacks += ("badnets",)
  config.attack.name = ",".join(f"{name}.fmn" for name in attacks)
  config.regime.name = "fmn"
  config.defense.name = "none"
  return config
