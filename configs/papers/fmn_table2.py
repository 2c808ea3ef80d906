"""Table 2 of Forget-Me-Not: five fine-tunings against FMN, on CIFAR-10.

    python -m bdjax.launch --config configs/papers/fmn_table2.py
    python -m bdjax.launch --config configs/papers/fmn_table2.py:paper

Source: "Forget-Me-Not: Making Backdoor Hard to be Forgotten in Finetuning"
(anonymous submission to ICLR 2024), section 4.3. The defender has 5 % of the
clean images, 20 % for super-fine-tuning. FT-SAM has their
radius of 2, in the adaptive form of its own paper (assumed: they do not say).

Published, ASR after super-fine-tuning, conventional and FMN: Blended 18.58 and
86.22, TrojanNN 24.45 and 88.23, LIRA 28.75 and 88.69; all 168 numbers are in
docs/published/fmn_table2.csv.

Presets, see _presets.py; the paper names neither epochs nor rate of planting:
`paper` has 100 epochs at .01 (FMN: 100 poisoned and 100 clean ones). `evidence`
has two attacks, FMN from the start and from the planted model, and the milder
super-fine-tuning below as well; it counts for Table 4 too. `small` has four
attacks; the same command with
`--config.attack.name=lira.fmn,l2_inv.fmn,narcissus.fmn` adds the others.
`small` tunes in batches of 64, for which super-fine-tuning's peak of .1 is four
times as harsh as for 256: `super_ft.fmn(lr_max1=0.025)` is the milder reading,
which leaves more under either regime (docs/results_small.md).
Time: `smoke` took 321 s of processor time (measured, 2 busy cores); `small`
about an hour of one core per attack (measured, three attacks); else not run
yet.
"""

from ml_collections import ConfigDict

from configs.papers import _presets
from configs.papers.fmn_table1 import ATTACKS, CIFAR_ONLY

ALL = ATTACKS + CIFAR_ONLY
SMALL = ("blended", "trojaning", "inputaware", "l0_inv")
DEFENSES = "ft(lr=0.01),ft(lr=0.05),super_ft.fmn,ft_sam.fmn,nad.fmn"
MILDER = ",super_ft.fmn(lr_max1=0.025)"  # than .1, in batches of 64


def get_config(argument: str = "small") -> ConfigDict:
  """Returns the attacks under both regimes against five defenses.

  Args:
    argument: "preset" or "preset,dataset".
  """
  preset, dataset = _presets.parse(argument, "cifar10")
  config = _presets.sized("fmn_table2", preset, dataset)
  attacks = {"small": SMALL, "evidence": SMALL[:2]}.get(preset, ALL)
  config.attack.name = ",".join(f"{name}.fmn" for name in attacks)
  config.regime.name = "conventional,fmn"
  config.defense.name = DEFENSES
  if preset == "evidence":
    config.study = "fmn_table2,fmn_table4"
    config.regime.name += ",fmn(start=planted)"
    config.defense.name += MILDER
  return config
