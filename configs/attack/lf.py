"""LF under the base protocol.

    python -m bdjax.launch --config configs/attack/lf.py

Each of its arguments is a key (`--config.attack.ARGUMENT=value`, None means the
default), and `configs/attack/lf.py:PRESET` names a preset; see
`python -m bdjax.launch list lf`.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(preset: str = "") -> ConfigDict:
  """Returns the base config with lf as its only attack."""
  return base.with_method(base.get_config(), "attack", "lf", preset)
