"""Plants every attack once, briefly, to look at its trigger.

    python -m bdjax.launch gallery
    python -m bdjax.launch gallery --config.data.name=cifar10 \\
        --config.model.name=preact_resnet18 --config.train.epochs=15

Writes gallery.html into the workdir. The models are small and trained for a few
epochs: enough for triggers that are learned to take shape, not to judge an
attack by.
"""

from ml_collections import ConfigDict

from configs import base

SMALLER = {"ssba": "ssba(bits=20, width=8, lr=0.001)"}  # or it takes longest


def get_config(argument: str = "") -> ConfigDict:
  """Returns all attacks, no defense, one seed."""
  from bdjax.methods import registry

  config = base.get_config()
  config.data.update({"train_images": 4_000, "test_images": 1_000})
  config.model.update({"name": "cnn", "width": 16})
  attacks = [name for name in registry.names("attacks") if name != "clean"]
  config.attack.name = ",".join(SMALLER.get(k, k) for k in attacks)
  config.train.update({"epochs": 8, "lr": 0.05})
  config.defense.name = "none"
  config.seeds = (0,)
  return base.with_methods(config, argument)
