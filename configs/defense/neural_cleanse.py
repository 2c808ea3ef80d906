"""Neural Cleanse against the base protocol's BadNets.

    python -m bdjax.launch --config configs/defense/neural_cleanse.py

Each of its arguments is a key (`--config.defense.ARGUMENT=value`, None means
the default), and `configs/defense/neural_cleanse.py:PRESET` names a preset; see
`python -m bdjax.launch list neural_cleanse`.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(preset: str = "") -> ConfigDict:
  """Returns the base config with Neural Cleanse as its only defense."""
  return base.with_method(
    base.get_config(), "defense", "neural_cleanse", preset
  )
