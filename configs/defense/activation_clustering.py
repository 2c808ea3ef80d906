"""Activation Clustering against the base protocol's BadNets.

    python -m bdjax.launch --config configs/defense/activation_clustering.py

Each of its arguments is a key (`--config.defense.ARGUMENT=value`, None means
the default), and `configs/defense/activation_clustering.py:PRESET` names a
preset; see `python -m bdjax.launch list activation_clustering`.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(preset: str = "") -> ConfigDict:
  """Returns the base config with Activation Clustering as its only defense."""
  return base.with_method(
    base.get_config(), "defense", "activation_clustering", preset
  )
