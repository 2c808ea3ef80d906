"""Encoder: BadEncoder, and the classifiers that users put on it.

    python -m bdjax.launch --config configs/encoder.py:cifar10,stl10@32
    python -m bdjax.launch --config configs/encoder.py:cifar10,gtsrb,small

Pairs of Sha et al. (arXiv 2212.09067, section 5.1 and Figure 2) and of
BadEncoder (arXiv 2108.00352): cifar10 or stl10@32 as source; cifar10, stl10@32,
svhn_cropped or gtsrb as target. A ResNet18 is pre-trained by SimCLR without
labels, planted, and used twice: with the encoder fixed (`ft.classifier`) and
with all of it tuned (`ft.encoder`). The report shows ASR and accuracy per epoch
of both. The reference image, and thus the target, is of BadEncoder's class
where it has one: gtsrb 12, svhn_cropped 1, stl10 9; class 0 elsewhere.

`small` is for two CPU cores: 10,000 images for the encoder and 5,000 for the
classifier, a quarter of the width, 15 epochs of SimCLR, 10 of planting, 20 of
each classifier.
"""

from ml_collections import ConfigDict

from configs import base, transfer

REFERENCES = {"gtsrb": 12, "svhn_cropped": 1, "stl10": 9}


def get_config(argument: str = "cifar10,stl10@32") -> ConfigDict:
  """Returns BadEncoder and both uses of it, for a pair of datasets.

  Args:
    argument: "source,target" or "source,target,small".
  """
  source, target, small = transfer.parse(argument)
  config = base.get_config()
  config.scenario = "encoder"
  config.data.update({"name": source, "crop": 0})
  config.downstream.update({"name": target, "crop": 0})
  config.model.name = "resnet18"
  config.attack.name = "badencoder"
  config.attack.target = REFERENCES.get(target.partition("@")[0], 0)
  config.train.update(
    {"epochs": 200, "batch_size": 256, "lr": 1e-3, "schedule": "constant"}
  )
  config.defense.name = "ft.classifier,ft.encoder"
  if small:
    config.scenario = "encoder(epochs=15)"
    config.data.train_images = 10_000
    config.downstream.train_images = 5_000
    config.model.width = 16
    config.train.update({"epochs": 10, "batch_size": 128, "lr": 0.05})
    config.defense.name = (
      "ft.classifier(epochs=20, lr=0.001),ft.encoder(epochs=20, batch_size=64)"
    )
    config.seeds = (0,)
  return config
