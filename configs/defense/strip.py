"""STRIP against the base protocol's BadNets.

    python -m bdjax.launch --config configs/defense/strip.py

Each of its arguments is a key (`--config.defense.ARGUMENT=value`, None means
the default), and `configs/defense/strip.py:PRESET` names a preset; see
`python -m bdjax.launch list strip`.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(preset: str = "") -> ConfigDict:
  """Returns the base config with strip as its only defense."""
  return base.with_method(base.get_config(), "defense", "strip", preset)
