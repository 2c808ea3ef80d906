"""Fourteen defenses, six attacks and none, on CIFAR-10 and two CPU cores.

    python -m bdjax.launch --config configs/cifar10_defenses.py

The small real protocol of configs/cifar10_small.py, one seed, and the false
alarms of detectors on clean models. Passes are fewer than the papers' where a
CPU would take hours: Neural Cleanse searches 30 times over the defender's 500
images, ABL trains 25 epochs in all, STRIP overlays 10 images. BadNets needs the
random crop off: `--config.attack.name=badnets,clean --config.data.crop=0`, in a
workdir of its own.
"""

from ml_collections import ConfigDict

from configs import base, cifar10_small

TUNING = ("ft(lr=0.01)", "ft(lr=0.05)", "super_ft.fmn", "ft_sam", "nad")
PRUNING = ("fine_pruning", "anp(iterations=400)", "rnp", "clp")
OTHERS = ("i_bau", "neural_cleanse(rounds=30)", "strip(count=10)")
FILTERS = (
  "abl(isolation_epochs=5, epochs=15, unlearning_epochs=5)",
  "activation_clustering(epochs=15)",
  "spectral(epochs=15)",
)


def get_config(argument: str = "") -> ConfigDict:
  """Returns the grid of attacks and defenses, one seed."""
  config = cifar10_small.get_config()
  config.attack.name = "blended,wanet,inputaware,lf,trojaning,lira,clean"
  config.defense.name = ",".join((*TUNING, *PRUNING, *OTHERS, *FILTERS))
  config.seeds = (0,)
  return base.with_methods(config, argument)
