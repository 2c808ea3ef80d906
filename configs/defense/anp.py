"""Adversarial neuron pruning against the base protocol's BadNets.

    python -m bdjax.launch --config configs/defense/anp.py

Each of its arguments is a key (`--config.defense.ARGUMENT=value`, None means
the default), and `configs/defense/anp.py:PRESET` names a preset; see
`python -m bdjax.launch list anp`.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(preset: str = "") -> ConfigDict:
  """Returns the base config with ANP as its only defense."""
  return base.with_method(base.get_config(), "defense", "anp", preset)
