"""Transfer: a backdoored classifier is adapted to another task.

    python -m bdjax.launch --config configs/transfer.py:cifar100,cifar10
    python -m bdjax.launch --config configs/transfer.py:cifar100,gtsrb,small

The pairs of the papers: cifar100,cifar10 and cifar100,gtsrb (Sha et al., arXiv
2212.09067, section 5.2 and Figure 3); imagenet10,imagenet10_ft (Forget-Me-Not,
section 4.4 and Table 3). Any other two datasets of one image size will do. The
last layer is replaced and the whole model tuned on all of the user's data, at
Sha et al.'s rate of pre-training and by super-fine-tuning. The report shows the
collapse of triggered images into one class per epoch, and accuracies beside
those of a clean model that was adapted in the same way.

`small` is for two CPU cores: 10,000 images to plant on and 5,000 to adapt to,
PreActResNet18 at a quarter of its width, 15 and 10 epochs, one seed.
"""

from ml_collections import ConfigDict

from configs import base, cifar10_small


def parse(argument: str) -> tuple[str, str, bool]:
  """Returns two datasets, and whether the config is the small one.

  Args:
    argument: "source,target" or "source,target,small".

  Raises:
    ValueError: it is neither.
  """
  source, _, rest = argument.partition(",")
  target, *size = rest.split(",")
  if not (source and target) or size not in ([], ["small"]):
    raise ValueError(
      f"the config's argument is {argument!r}, but must be two datasets, or "
      "two and small: write cifar10,gtsrb or cifar10,gtsrb,small, say."
    )
  return source, target, bool(size)


def get_config(argument: str = "cifar100,cifar10") -> ConfigDict:
  """Returns badnets and blended under both regimes, for a pair of datasets.

  Args:
    argument: "source,target" or "source,target,small".
  """
  source, target, small = parse(argument)
  config = cifar10_small.get_config() if small else base.get_config()
  config.scenario = "transfer"
  config.data.name = source
  config.downstream.name = target
  if source.startswith("imagenet"):
    config.model.name = "resnet18"
  config.attack.name = "badnets,blended"
  config.regime.name = "conventional,fmn"
  config.defense.name = "ft.sha,super_ft.paper"
  config.defense.clean_rate = 1.0
  if small:
    config.data.crop = 0  # a short training does not learn BadNets with it
    config.downstream.train_images = 5_000
    config.defense.name = "ft.sha(lr=0.01),super_ft.paper(phase1_epochs=5)"
    config.defense.epochs = 10
    config.evaluate.curve_every = 1
    config.seeds = (0,)
  return config
