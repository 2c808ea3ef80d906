"""L0-inv (reconstructed) under the base protocol.

    python -m bdjax.launch --config configs/attack/l0_inv.py

Each of its arguments is a key (`--config.attack.ARGUMENT=value`, None means the
default), and `configs/attack/l0_inv.py:PRESET` names a preset; see
`python -m bdjax.launch list l0_inv`.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(preset: str = "") -> ConfigDict:
  """Returns the base config with l0_inv as its only attack."""
  return base.with_method(base.get_config(), "attack", "l0_inv", preset)
