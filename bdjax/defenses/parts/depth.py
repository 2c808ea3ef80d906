"""Layers by depth: numbers in their names count as such.

A compiled program returns a dict in the order of its keys as text, in which
layer10 comes before layer2.
"""

import re

from bdjax.types import Array


def counted(path: str) -> list[str | int]:
  """Returns what paths are sorted by, so that layer2_10 follows layer2_9."""
  parts = re.split(r"(\d+)", path)
  return [int(part) if part.isdigit() else part for part in parts]


def maps(features: dict[str, Array]) -> list[Array]:
  """Returns the features with a place in the image, [B, h, w, c], by depth."""
  names = sorted(features, key=counted)
  return [features[name] for name in names if features[name].ndim == 4]
