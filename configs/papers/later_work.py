"""Beyond the papers: defenses and durable attacks that came after them.

    python -m bdjax.launch --config configs/papers/later_work.py
    python -m bdjax.launch --config configs/papers/later_work.py:gpu

Tuning defenses published since (FST and its baselines, PAM, SAU, NPD, NFT,
TSBD, FIP) and the one other public super-fine-tuning, against conventional
training, Forget-Me-Not, SBL and an attacker who rehearses super-fine-tuning.
Each has 5 % of the clean images (`toolbox` 4 %, as there) and its own paper's
constants; epochs and batches, too, in the presets `paper` and `evidence` alone.

Nothing of Sha et al. (arXiv 2212.09067) or Forget-Me-Not is published of it.

Presets, see _presets.py; `evidence` has one seed. Where clean turns are a
defense, that is one of two epochs: super-fine-tuning with one of large rates.
Time: not run yet.
"""

from ml_collections import ConfigDict

from configs.papers import _presets

ATTACKS = ("badnets", "blended", "wanet", "trojaning")
REHEARSED = "adaptive(defense='super_ft.fmn(phase1_epochs=1)', turn=2)"
DEFENSES = "fst,lp,fe_tuning,ft_init,pam,npd,nft,fip,tsbd,sau,super_ft.toolbox"


def get_config(argument: str = "small") -> ConfigDict:
  """Returns four attacks under four regimes against eleven defenses.

  Args:
    argument: "preset" or "preset,dataset".
  """
  preset, dataset = _presets.parse(argument, "cifar10")
  config = _presets.sized("later_work", preset, dataset)
  config.attack.name = ",".join(f"{name}.fmn" for name in ATTACKS)
  config.regime.name = f"conventional,fmn,sbl,{REHEARSED}"
  config.defense.name = DEFENSES
  if preset == "smoke":  # 30 images are no batch of theirs
    config.defense.name += "(batch_size=24)"
  else:
    config.defense.batch_size = None
  if preset == "evidence":
    config.seeds = (0,)
  return config
