"""The input-aware backdoor under the base protocol.

    python -m bdjax.launch --config configs/attack/inputaware.py

Each of its arguments is a key (`--config.attack.ARGUMENT=value`, None means the
default), and `configs/attack/inputaware.py:PRESET` names a preset; see
`python -m bdjax.launch list inputaware`.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(preset: str = "") -> ConfigDict:
  """Returns the base config with inputaware as its only attack."""
  return base.with_method(base.get_config(), "attack", "inputaware", preset)
