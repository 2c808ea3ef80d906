"""Appendix A.6 of Forget-Me-Not: does FMN make LIRA easier to notice?

    python -m bdjax.launch --config configs/papers/fmn_a6.py
    python -m bdjax.launch --config configs/papers/fmn_a6.py:gpu

Source: "Forget-Me-Not: Making Backdoor Hard to be Forgotten in Finetuning"
(anonymous submission to ICLR 2024), section 4.6, on CIFAR-10: a LIRA model
trained with FMN "passes all the tests" of Neural Cleanse, Fine-Pruning, ANP and
STRIP, as the conventional one does. The appendix with the details is not at
hand. So constants are each defense's own (the defaults here) with the 5 % of
clean images of section 4.3, and what passing means is chosen in
bdjax/study/fmn.py.

Published: no numbers in the text at hand.

Presets, see _presets.py; epochs as in fmn_table2.py. `small` searches 30 times
over the images for Neural Cleanse, has 400 iterations of ANP and 20 overlays of
STRIP, of which each takes as long as scoring once.
Time: `smoke` took 120 s of processor time (measured, 2 busy cores); else not
run yet.
"""

from ml_collections import ConfigDict

from configs.papers import _presets

LONG = "neural_cleanse,fine_pruning,anp,strip"
BRIEF = {
  "small": "neural_cleanse(rounds=30),fine_pruning,anp(iterations=400),"
  "strip(count=20)",
  "evidence": "neural_cleanse,fine_pruning,anp,strip(count=20)",
  "smoke": "neural_cleanse(rounds=6),fine_pruning,"
  "anp(iterations=20, batch_size=20),strip(count=10)",
}


def get_config(argument: str = "small") -> ConfigDict:
  """Returns LIRA under both regimes against four defenses.

  Args:
    argument: "preset" or "preset,dataset".
  """
  preset, dataset = _presets.parse(argument, "cifar10")
  config = _presets.sized("fmn_a6", preset, dataset)
  config.attack.name = "lira.fmn"
  config.regime.name = "conventional,fmn"
  config.defense.name = BRIEF.get(preset, LONG)
  return config
