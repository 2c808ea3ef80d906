"""Handcrafted under the base protocol; it trains nothing, so no regime applies.

    python -m bdjax.launch --config configs/attack/handcrafted.py

Each of its arguments is a key (`--config.attack.ARGUMENT=value`, None means the
default), and `configs/attack/handcrafted.py:PRESET` names a preset; see
`python -m bdjax.launch list handcrafted`.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(preset: str = "") -> ConfigDict:
  """Returns the base config with handcrafted as its only attack."""
  return base.with_method(base.get_config(), "attack", "handcrafted", preset)
