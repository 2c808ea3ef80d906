"""Table 3 of Forget-Me-Not: does a backdoor reach another task?

    python -m bdjax.launch --config configs/papers/fmn_table3.py
    python -m bdjax.launch --config configs/papers/fmn_table3.py:paper

Source: "Forget-Me-Not: Making Backdoor Hard to be Forgotten in Finetuning"
(anonymous submission to ICLR 2024), section 4.4: planted on ten classes of
ImageNet, the whole model fine-tuned on ten others. What counts is the accuracy
on triggered images (`ta`), less that of a clean model tuned likewise (`drop`).

Published, drop, conventional and FMN: Blended -3.61 and -23.87, TrojanNN -7.66
and -31.03 (docs/published/fmn_table3.csv).

Presets, see _presets.py; the paper does not say how it fine-tunes: here as in
its section 4.3, at .01 for 100 epochs, on all data. `small`, the default, goes
from cifar100 to cifar10, 5,000 images of it, 10 epochs; `evidence` does so with
Blended, two seeds.
Time: `smoke` took 42 s of processor time (measured, one core); else not run
yet.
"""

from ml_collections import ConfigDict

from configs.papers import _presets


def get_config(argument: str = "small") -> ConfigDict:
  """Returns two attacks under both regimes, tuned on another task.

  Args:
    argument: "preset" or "preset,source,target".
  """
  preset, source, target = _presets.parse(
    argument, "imagenet10", "imagenet10_ft", small=("cifar100", "cifar10")
  )
  config = _presets.sized("fmn_table3", preset, source)
  config.scenario = "transfer"
  config.downstream.name = target
  config.attack.name = "blended.fmn,trojaning.fmn"
  config.regime.name = "conventional,fmn"
  config.defense.name = "ft.fmn"
  config.defense.clean_rate = 1.0
  if preset in ("small", "evidence"):
    config.downstream.train_images = 5_000
    config.defense.epochs = 10
  if preset == "evidence":
    config.attack.name = "blended.fmn"
    config.seeds = (0, 1)
  if preset == "smoke":
    config.downstream.update({"train_images": 300, "test_images": 200})
  return config
