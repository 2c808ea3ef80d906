"""Fine-Pruning against the base protocol's BadNets.

    python -m bdjax.launch --config configs/defense/fine_pruning.py

Each of its arguments is a key (`--config.defense.ARGUMENT=value`, None means
the default), and `configs/defense/fine_pruning.py:PRESET` names a preset; see
`python -m bdjax.launch list fine_pruning`.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(preset: str = "") -> ConfigDict:
  """Returns the base config with fine-pruning as its only defense."""
  return base.with_method(base.get_config(), "defense", "fine_pruning", preset)
