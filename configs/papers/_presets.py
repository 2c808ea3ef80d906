"""The presets of the studies in this folder, and what they have in common.

    --config configs/papers/STUDY.py:PRESET[,DATASET...]

- `paper`: the paper's own sizes; three seeds.
- `gpu`: whole training sets in bfloat16, 50 epochs of planting and of tuning,
  the field's usual rate (.05, cosine), one seed: meant for about an hour on one
  GPU. Not run yet.
- `small` (the default): 10,000 images and PreActResNet18 at a quarter of its
  width, as in configs/cifar10_small.py, but 30 epochs, which Forget-Me-Not and
  WaNet need to plant; 20 epochs of tuning, batches of 64, one seed: meant for
  about two hours on two CPU cores.
- `evidence`: 20,000 images, which each seed draws anew, and ResNet-9 at width
  24, long enough to plant: 80 epochs in every regime, clean ones counted, so
  that all take the same steps (docs/results.md says how far they fit them).
  Batches of 64; rates scaled with the batch (FMN's .05, .0005 and .00015;
  conventional .025, cosine); three seeds; the defenses' own epochs. What
  docs/results.md tests the papers' claims by. Studies with one seed there show
  what happens and decide no claim: `--config.seeds='(0,1,2)'` is needed for it.
- `smoke`: procedural images, a tiny CNN, a few epochs: shows in minutes that
  all of a study runs and is reported. Its numbers mean nothing. All studies
  but fmn_a6, shared out to two CPU cores, took 15 minutes from a cold cache
  (measured).

Studies of one paper plant the same models: give them one `--store` and each is
planted once. What a preset takes on a machine is said there by
`python -m bdjax.launch estimate --config configs/papers/STUDY.py:PRESET`.
"""

from ml_collections import ConfigDict

from configs import base, cifar10_small

SHA_ATTACKS = "badnets,blended,lf,inputaware,wanet"
SIZES = {
  "paper": {},
  "gpu": {
    "model": {"dtype": "bfloat16"},
    "train": {"epochs": 50, "lr": 0.05},
    "defense": {"epochs": 50},
    "seeds": (0,),
  },
  "small": {"train": {"epochs": 30}, "seeds": (0,)},
  "evidence": {
    "data": {"train_images": 20_000},
    "model": {"name": "resnet9", "width": 24},
    "train": {"epochs": 80, "batch_size": 64, "lr": 0.025, "match": "steps"},
    "regime": {"lr_min": 1.5e-4, "lr_max1": 0.05, "lr_max2": 5e-4},
    "defense": {"batch_size": 64},
    "evaluate": {"curve_images": 500, "curve_every": 4, "floor": True},
  },
  "smoke": {
    "data": {"train_images": 600, "test_images": 200, "crop": 0},
    "model": {"name": "cnn", "width": 8},
    "train": {"epochs": 4, "batch_size": 60, "lr": 0.05},
    "defense": {"epochs": 3, "batch_size": 30},
    "evaluate": {"batch_size": 200, "curve_images": 100},
    "seeds": (0,),
  },
}


def parse(
  argument: str, *data: str, small: tuple[str, ...] | None = None
) -> list[str]:
  """Returns the preset that an argument names, and a name for each dataset.

  Args:
    argument: "preset" or "preset,dataset,..."; "" is small.
    *data: the study's own datasets, which others may replace.
    small: those of the presets small and evidence; None for the same.

  Raises:
    ValueError: the preset is unknown, or the datasets are too few or too many.
  """
  preset, *given = (argument or "small").split(",")
  if preset not in SIZES:
    raise ValueError(
      f"there is no preset {preset!r}: choose one of {', '.join(SIZES)}."
    )
  if given and len(given) != len(data):
    raise ValueError(
      f"{argument!r} names {len(given)} datasets, but this study has "
      f"{len(data)}: write {','.join((preset, *data))}, say."
    )
  own = {
    "small": small or data,
    "evidence": small or data,
    "smoke": ("synthetic",) * len(data),
  }
  return [preset, *(given or own.get(preset, data))]


def sized(study: str, preset: str, dataset: str) -> ConfigDict:
  """Returns a study's config, of a preset's size, without any methods.

  Args:
    study: its name, as in docs/published.
    preset: see the module's docstring.
    dataset: what the adversary trains on.
  """
  start = cifar10_small if preset == "small" else base
  config = start.get_config()
  config.data.name = dataset
  if dataset.startswith(("imagenet", "celeba")):
    config.model.name = "resnet18"  # as Forget-Me-Not has it
  return resized(config, study, preset)


def resized(config: ConfigDict, study: str, preset: str) -> ConfigDict:
  """Returns a config at a preset's size, as a study's."""
  config.study = study
  config.update(SIZES[preset])
  return config


def sha(study: str, preset: str, dataset: str) -> ConfigDict:
  """Returns `sized` with attacks and training of Sha et al. (supplement A.2).

  The presets `small` and `evidence` go without the random crop: so short a
  training does not learn BadNets with it. `evidence` has one seed.
  """
  config = sized(study, preset, dataset)
  config.attack.name = SHA_ATTACKS
  if preset == "paper":
    config.train.update(
      {"epochs": 200, "batch_size": 256, "lr": 1e-3, "schedule": "constant"}
    )
  if preset in ("small", "evidence"):
    config.data.crop = 0
  if preset == "evidence":
    config.seeds = (0,)
  return config
