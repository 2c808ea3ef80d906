"""Where datasets lie on this machine, and what to do when they do not."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bdjax.machine import storage

PREPARED = (
  "cifar10",
  "cifar100",
  "svhn_cropped",
  "stl10",
  "imagenette",
  "gtsrb",
  "tiny_imagenet",
)

_MANUAL = {
  "celeba8": "prepare celeb_a with tfds and TensorFlow, or lay the images out "
  "as celeba/<train|validation|test>/<id>.jpg beside celeba/attributes.csv",
  "imagenet": "download ImageNet-1k and lay it out as "
  "imagenet/<train|val>/<class>/*.JPEG",
}


class Source(NamedTuple):
  """A split that can be read.

  Attributes:
    identity: decides the content; the key of the cache of decoded arrays.
    read: returns images [N, H, W, C] uint8 and labels [N] int32.
  """

  identity: str
  read: Callable[[], tuple[np.ndarray, np.ndarray]]


class MissingDataset(ValueError):
  """A dataset is not on this machine; the message says how to get it."""

  def __init__(self, name: str, looked: Sequence[Path], origin: str) -> None:
    """Words the message.

    Args:
      name: the dataset.
      looked: the folders where it was looked for.
      origin: what decided the folders, such as "data_dir".
    """
    if name in PREPARED:
      remedy = f"download it with `python -m bdjax.launch prepare {name}`"
    else:
      remedy = _MANUAL["celeba8" if name == "celeba8" else "imagenet"]
    super().__init__(
      f"dataset {name!r} was not found in "
      f"{' or '.join(map(str, looked))} (from {origin}): either {remedy}, or "
      f"point --config.data.dir=DIR or $TFDS_DATA_DIR to a folder where tfds "
      f"has prepared it."
    )


def root(data_dir: str | Path | None = None) -> tuple[Path, str]:
  """Returns the folder of the datasets and what decided it, as tfds does."""
  if data_dir:
    folder = storage.local(data_dir, "the folder of the datasets")
    return folder.expanduser(), "data_dir"
  if os.environ.get("TFDS_DATA_DIR"):
    folder = storage.local(os.environ["TFDS_DATA_DIR"], "$TFDS_DATA_DIR")
    return folder.expanduser(), "$TFDS_DATA_DIR"
  return Path.home() / "tensorflow_datasets", "the default of tfds"
