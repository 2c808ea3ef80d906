"""Datasets: uint8 images and labels on the device, by name.

tfds, Pillow and scipy are imported only where data are read or prepared.
"""

from bdjax.data.catalog import Info, info, names
from bdjax.data.loading import SPLITS, enough, fingerprint, load
from bdjax.data.places import MissingDataset
from bdjax.data.preparing import prepare
from bdjax.data.splits import clean_subset, hold_out

__all__ = [
  "SPLITS",
  "Info",
  "MissingDataset",
  "clean_subset",
  "enough",
  "fingerprint",
  "hold_out",
  "info",
  "load",
  "names",
  "prepare",
]
