"""L2-inv (reconstructed) under the base protocol.

    python -m bdjax.launch --config configs/attack/l2_inv.py

Each of its arguments is a key (`--config.attack.ARGUMENT=value`, None means the
default), and `configs/attack/l2_inv.py:PRESET` names a preset; see
`python -m bdjax.launch list l2_inv`.
"""

from ml_collections import ConfigDict

from configs import base


def get_config(preset: str = "") -> ConfigDict:
  """Returns the base config with l2_inv as its only attack."""
  return base.with_method(base.get_config(), "attack", "l2_inv", preset)
