"""Narcissus under the base protocol.

    python -m bdjax.launch --config configs/attack/narcissus.py

Each of its arguments is a key (`--config.attack.ARGUMENT=value`, None means the
default), and `configs/attack/narcissus.py:PRESET` names a preset; see
`python -m bdjax.launch list narcissus`.

The default rate, .05 %, is for 50,000 images: on less data give more
(docs/results.md has what was run).
"""

from ml_collections import ConfigDict

from configs import base


def get_config(preset: str = "") -> ConfigDict:
  """Returns the base config with narcissus as its only attack."""
  return base.with_method(base.get_config(), "attack", "narcissus", preset)
