"""Datasets: uint8 images and labels on the device, by name.

tfds, Pillow and scipy are imported only where data are read or prepared.
"""

from bdjax.data.catalog import Info, info, names
from bdjax.data.loading import SPLITS, fingerprint, load
from bdjax.data.places import MissingDataset
from bdjax.data.preparing import prepare

__all__ = [
  "SPLITS",
  "Info",
  "MissingDataset",
  "fingerprint",
  "info",
  "load",
  "names",
  "prepare",
]
