"""CIFAR-10 on two CPU cores: does a method work on real images?

    python -m bdjax.launch --config configs/cifar10_small.py

The small real protocol: 10,000 training images, which each seed draws anew
(docs/results.md has the same ones for all seeds: data.draw=fixed), all test
images, PreActResNet18 at a quarter of its width. The defender holds 500 clean
images (5 %), or 2,000 (20 %) for super-fine-tuning, as in the Forget-Me-Not
paper. Needs CIFAR-10 prepared for tfds
(`python -m bdjax.launch prepare cifar10`).

Runs this short hardly learn a square in the corner that the random crop cuts
off: for BadNets add `--config.data.crop=0`. docs/results_small.md has what came
out.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(argument: str = "") -> ConfigDict:
  """Returns badnets and blended against four fine-tunings, three seeds."""
  config = base.get_config()
  config.data.update({"name": "cifar10", "train_images": 10_000})
  config.model.width = 16
  config.attack.name = "badnets,blended"
  config.train.update({"epochs": 15, "lr": 0.05})
  config.defense.update(
    {
      "name": "ft(lr=0.01),ft(lr=0.05),super_ft.fmn,ft_sam",
      "epochs": 20,
      "batch_size": 64,
    }
  )
  config.evaluate.curve_every = 5
  return base.with_methods(config, argument)
