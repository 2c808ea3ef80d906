"""BadEncoder on a classifier of its own, under the base protocol.

    python -m bdjax.launch --config configs/attack/badencoder.py

Each of its arguments is a key (`--config.attack.ARGUMENT=value`, None means the
default), and `configs/attack/badencoder.py:PRESET` names a preset; see
`python -m bdjax.launch list badencoder`.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(preset: str = "") -> ConfigDict:
  """Returns the base config with badencoder as its only attack."""
  return base.with_method(base.get_config(), "attack", "badencoder", preset)
