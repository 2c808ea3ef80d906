"""Spectral Signatures against the base protocol's BadNets.

    python -m bdjax.launch --config configs/defense/spectral.py

Each of its arguments is a key (`--config.defense.ARGUMENT=value`, None means
the default), and `configs/defense/spectral.py:PRESET` names a preset; see
`python -m bdjax.launch list spectral`.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(preset: str = "") -> ConfigDict:
  """Returns the base config with Spectral Signatures as its only defense."""
  return base.with_method(base.get_config(), "defense", "spectral", preset)
