"""Narcissus under the base protocol.

    python -m bdjax.launch --config configs/attack/narcissus.py

Each of its arguments is a key (`--config.attack.ARGUMENT=value`, None means the
default), and `configs/attack/narcissus.py:PRESET` names a preset; see
`python -m bdjax.launch list narcissus`.

The default rate is for 50,000 images. A small network on little data ignores
the noise while a good part of the target class comes without it: on 3,000
synthetic images (300 of the target class) a CNN of width 16 trained for 12
epochs reached an attack success of 0.20 at rate 0.05 and 1.00 at rate 0.1, the
whole class, where clean accuracy fell from 0.90 to 0.79. On CIFAR-10 rate 0.05
is enough for a small PreActResNet18 (docs/results.md).
"""

from ml_collections import ConfigDict

from configs import base


def get_config(preset: str = "") -> ConfigDict:
  """Returns the base config with narcissus as its only attack."""
  return base.with_method(base.get_config(), "attack", "narcissus", preset)
