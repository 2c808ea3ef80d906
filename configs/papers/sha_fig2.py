"""Figure 2 of Sha et al.: BadEncoder, and what whole-model tuning leaves of it.

    python -m bdjax.launch --config configs/papers/sha_fig2.py
    python -m bdjax.launch \\
        --config configs/papers/sha_fig2.py:gpu,stl10@32,cifar10

Source: arXiv 2212.09067, section 5.1 and supplement A.2. A ResNet18 encoder is
pre-trained by SimCLR, planted, and used under a classifier: that alone trained
(`ft.classifier`), or the whole model (`ft.encoder`). Pairs: cifar10 or stl10@32
to cifar10, stl10@32 or svhn_cropped.

Published, cifar10 to stl10, ASR: 99.8 with the encoder fixed, 12.7 after one
epoch of the whole model (docs/published/sha_fig2.csv).

Presets; how BadEncoder is planted is as in configs/encoder.py, whose own small
size is `small` here. `paper`: 1,000 epochs of SimCLR at 3e-4, 200 of each
classifier at 3e-4. `gpu`: 200 and 50, and 50 of planting.
Time: `smoke` took 64 s of processor time (measured, 2 busy cores); else not
run yet.
"""

from ml_collections import ConfigDict

from configs import encoder
from configs.papers import _presets

CLASSIFIERS = "ft.classifier(lr=0.0003, epochs={0}),ft.encoder(epochs={0})"
BRIEF = ",".join(
  f"ft.{part}(epochs=3, batch_size=30)" for part in ("classifier", "encoder")
)


def get_config(argument: str = "small") -> ConfigDict:
  """Returns BadEncoder and both uses of it.

  Args:
    argument: "preset" or "preset,source,target".
  """
  preset, source, target = _presets.parse(argument, "cifar10", "stl10@32")
  pair = f"{source},{target}"
  if preset == "small":
    config = encoder.get_config(f"{pair},small")
    config.study = "sha_fig2"
    return config
  config = _presets.resized(encoder.get_config(pair), "sha_fig2", preset)
  config.scenario = "encoder.sha"
  config.defense.name = CLASSIFIERS.format(200)
  if preset == "gpu":
    config.scenario = "encoder.sha(epochs=200)"
    config.defense.name = CLASSIFIERS.format(50)
  if preset in ("gpu", "evidence"):  # BadEncoder's, not a classifier's
    config.train.update({"lr": 1e-3, "batch_size": 256})
  if preset == "smoke":
    config.scenario = "encoder(epochs=2, batch_size=60)"
    config.downstream.update({"train_images": 300, "test_images": 200})
    config.defense.name = BRIEF
  return config
