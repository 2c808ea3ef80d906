"""Table 4 of Forget-Me-Not: its two parts, each by itself, on CIFAR-10.

    python -m bdjax.launch --config configs/papers/fmn_table4.py
    python -m bdjax.launch --config configs/papers/fmn_table4.py:gpu

Source: "Forget-Me-Not: Making Backdoor Hard to be Forgotten in Finetuning"
(anonymous submission to ICLR 2024), section 4.5: clean epochs in between alone
(`interleave`) and the cyclical rate alone (`cyclic`), to be put beside neither
(`conventional`) and both (`fmn`), which its Table 2 has.

Published, ASR after super-fine-tuning, interleave and cyclic: Blended 54.86 and
55.28, TrojanNN 39.86 and 68.64 (docs/published/fmn_table4.csv).

Presets, see _presets.py; epochs as in fmn_table2.py. `small` has Blended and
TrojanNN only; a second run with `--config.attack.name=l0_inv.fmn,l2_inv.fmn`,
reported together with it (`launch report`), adds the paper's other two.
`evidence` has Blended under either part, and all defenses of fmn_table2.py,
whose workdir has the rest: `launch report` takes both.
Time: `smoke` took 158 s of processor time (measured, 2 busy cores); else not
run yet.
"""

from ml_collections import ConfigDict

from configs.papers import _presets
from configs.papers.fmn_table2 import DEFENSES, MILDER


def get_config(argument: str = "small") -> ConfigDict:
  """Returns four attacks under four regimes against two defenses.

  Args:
    argument: "preset" or "preset,dataset".
  """
  preset, dataset = _presets.parse(argument, "cifar10")
  config = _presets.sized("fmn_table4", preset, dataset)
  config.attack.name = "blended.fmn,trojaning.fmn"
  if preset not in ("small", "evidence"):
    config.attack.name += ",l0_inv.fmn,l2_inv.fmn"
  config.regime.name = "conventional,interleave,cyclic,fmn"
  config.defense.name = "super_ft.fmn,ft_sam.fmn"
  if preset == "evidence":
    config.attack.name = "blended.fmn"
    config.regime.name = "interleave,cyclic"
    config.defense.name = DEFENSES + MILDER
  return config
