"""Plants BadNets and Blended, and fine-tunes both away: minutes on a laptop.

    python -m bdjax.launch --config configs/quickstart.py

No download: the images are procedural (see `bdjax.data.synthetic`).
"""

from ml_collections import ConfigDict

from configs import base


def get_config(argument: str = "") -> ConfigDict:
  """Returns a small CNN's run: two attacks, three defenses, one seed."""
  config = base.get_config()
  config.data.crop = 0  # a random crop often cuts BadNets' square off
  config.model.update({"name": "cnn", "width": 16})
  config.attack.name = "badnets,blended"
  config.train.update({"epochs": 20, "lr": 0.05})
  config.defense.update(
    {
      "name": "ft,super_ft,ft_sam",
      "clean_rate": 0.2,
      "epochs": 20,
      "batch_size": 64,
    }
  )
  config.evaluate.curve_images = 500
  config.seeds = (0,)
  return base.with_methods(config, argument)
