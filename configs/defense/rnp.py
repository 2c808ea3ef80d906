"""Reconstructive neuron pruning against the base protocol's BadNets.

    python -m bdjax.launch --config configs/defense/rnp.py

Each of its arguments is a key (`--config.defense.ARGUMENT=value`, None means
the default), and `configs/defense/rnp.py:PRESET` names a preset; see
`python -m bdjax.launch list rnp`.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(preset: str = "") -> ConfigDict:
  """Returns the base config with RNP as its only defense."""
  return base.with_method(base.get_config(), "defense", "rnp", preset)
