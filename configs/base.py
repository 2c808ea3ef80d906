"""Every key of a config, with its default; other configs start from this one.

A config is a program: `get_config(argument)` returns a ConfigDict, and
`--config.a.b=value` overrides a key. None means the method's own default.
Methods are written name, name.preset or name(argument=value), with commas.

    python -m bdjax.launch --config configs/base.py --config.data.name=cifar10

The argument names one attack, one defense or both, of which every argument is
then a key; `python -m bdjax.launch list lf` explains a method's.

    python -m bdjax.launch --config configs/base.py:attack=lf,defense=nad.bb \\
        --config.data.name=cifar10 --config.defense.teacher_epochs=5
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

SECTIONS = ("attack", "defense")  # that an argument may name a method of


def get_config(argument: str = "") -> ConfigDict:
  """Returns BackdoorBench's protocol: 10 % poisons, 5 % clean images.

  Args:
    argument: as `with_methods` takes it.
  """
  config = ConfigDict()
  config.data = ConfigDict(
    {
      "name": "synthetic",  # see `python -m bdjax.launch list`
      "train_images": placeholder(int),  # first n of a shuffle; None: all
      "test_images": placeholder(int),
      "crop": placeholder(int),  # padding of the random crop; 0: no crop
      "flip": placeholder(bool),  # mirror images in training
      # Which train_images those are: each seed draws its own (seed), so that
      # error bars tell of the draw as well, or all have the same (fixed).
      "draw": "seed",
      "dir": placeholder(str),  # a tfds data_dir
      "cache": placeholder(str),  # where decoded images are kept
    }
  )
  config.model = ConfigDict(
    {
      "name": "preact_resnet18",  # or such as resnet50(stem=imagenet)
      "width": placeholder(int),  # channels of the first layer
      "dtype": placeholder(str),  # float32, or bfloat16 on an accelerator
    }
  )
  config.attack = ConfigDict(
    {
      "name": "badnets",  # one or more; `list NAME` shows a method's arguments
      "rate": placeholder(float),  # poison rate: share of the training set
      "target": 0,  # target class
      "mode": "all2one",  # or all2all
    }
  )
  # or fmn cyclic interleave sbl abi adaptive(defense=ft_sam)
  config.regime = ConfigDict({"name": "conventional"})
  config.train = ConfigDict(
    {  # how the adversary trains
      "epochs": 100,
      "batch_size": 128,
      "lr": 0.01,
      "momentum": 0.9,
      "weight_decay": 5e-4,
      "schedule": "cosine",
      # What all regimes have equal: poisoned epochs (epochs; clean ones of fmn
      # and interleave come on top), or all epochs, hence steps (steps).
      "match": "epochs",
    }
  )
  config.scenario = "standalone"  # or transfer, encoder(epochs=200)
  config.downstream = ConfigDict(
    {  # the user's task in the other scenarios
      "name": placeholder(str),
      "train_images": placeholder(int),
      "test_images": placeholder(int),
      "crop": placeholder(int),
      "flip": placeholder(bool),
    }
  )
  config.defense = ConfigDict(
    {
      "name": "ft,super_ft,ft_sam",  # one or more
      "clean_rate": 0.05,  # the defender's share of the clean training set
      "balanced": False,  # the same number of each class
      "epochs": placeholder(int),  # for every defense that takes it
      "batch_size": placeholder(int),
    }
  )
  # What a defense leaves behind, of clean, planted and defended models alike,
  # such as "membership,reinjection(epochs=10),retuning".
  config.sequela = ConfigDict({"name": ""})
  config.sweep = ConfigDict(
    {
      "axes": "",  # such as "lr=(0.01, 0.05), rate=(0.05, 0.1)"
      "width": placeholder(int),  # members at once per device; None: measure
    }
  )
  config.evaluate = ConfigDict(
    {
      "batch_size": 500,
      "curve_images": 1000,  # test images behind a curve's points; 0: no curves
      "curve_every": 1,  # epochs between points, or turns of epochs
      "floor": False,  # also what clean models answer after the same defenses
    }
  )
  # What float32 products are computed in: the platform's own (default; bfloat16
  # on a TPU, TensorFloat-32 on recent GPUs), high, or highest (float32).
  config.precision = "default"
  config.seeds = (0, 1, 2)
  # Published tables to compare with, such as "fmn_table2,fmn_table4".
  config.study = ""
  return with_methods(config, argument)


def with_methods(config: ConfigDict, argument: str) -> ConfigDict:
  """Returns the config with the methods that its argument names.

  Args:
    config: a config; a section that is named has that method alone.
    argument: such as "attack=badnets,defense=nad.bb"; "" names none.

  Raises:
    ValueError: it is not of that form, or names an unknown section or method.
  """
  from bdjax.methods import signature

  chosen = {}
  for item in argument.split(",") if argument else ():
    section, equals, method = item.partition("=")
    if not equals:
      raise ValueError(
        f"the config's argument has {item!r}, but takes one method of a "
        "section: configs/base.py:attack=badnets,defense=nad.bb, say."
      )
    if section not in SECTIONS:
      raise ValueError(
        f"the config's argument has {item!r}, but no section {section!r}: "
        f"{signature.nearest(section, SECTIONS)}"
      )
    if section in chosen:
      raise ValueError(
        f"the config's argument names {section} twice; give several methods as "
        f"--config.{section}.name={chosen[section]},{method}."
      )
    chosen[section] = method
  for section, method in chosen.items():
    _choose(config, section, method)
  return config


def _choose(config: ConfigDict, section: str, method: str) -> None:
  """Makes a method a section's only one, and all of its arguments keys."""
  from bdjax.methods import registry, signature
  from bdjax.runs import methods

  keys = config[section]
  make = registry.get(f"{section}s", method.partition(".")[0])
  keys.name = method
  for argument in signature.arguments(make).values():
    if argument.name not in keys and argument.name not in methods.GIVEN:
      kinds = {float: float, int: int, bool: bool, str: str, int | None: int}
      kind = kinds.get(argument.base, float if argument.sweepable else str)
      keys[argument.name] = placeholder(kind)
