"""Reads a stranger's image files, in bounded memory.

All images together may not take more than `DECODED` bytes. Large ones are
decoded one at a time: Pillow takes 4 bytes a pixel, twice if it must convert,
and its WebP and progressive JPEG decoders several times that.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bdjax.data import pictures
from bdjax.data.pictures import printable

LIMITS = pictures.Limits(pixels=2**24, weight=2**26, threads=2)
DECODED = 2**31  # bytes of all images, as the model takes them

__all__ = ["DECODED", "LIMITS", "check_room", "printable", "read", "size"]


def size(path: Path) -> tuple[int, int, int]:
  """Returns the shape that an image file has as RGB, from its header.

  Raises:
    ValueError: it is not an image, or too large.
  """
  return pictures.size(path, LIMITS)


def read(
  paths: Sequence[Path], shape: tuple[int, int, int]
) -> tuple[np.ndarray, list[str]]:
  """Reads image files, each resized as a whole.

  Args:
    paths: the files.
    shape: (H, W, 3).

  Returns:
    images [N, H, W, 3] uint8, and sentences about what was done to some.

  Raises:
    ValueError: a file is not an image or too large, or all are; says which.
  """
  check_room(len(paths), shape)
  return pictures.read(paths, shape, LIMITS)


def check_room(count: int, shape: tuple[int, int, int]) -> None:
  """Refuses more images than fit into the memory that is allowed.

  Raises:
    ValueError: they do not; says how many do.
  """
  each = int(np.prod(shape, dtype=np.int64))
  if count * each > DECODED:
    raise ValueError(
      f"{count} images of {shape[0]} x {shape[1]} take {count * each} bytes, "
      f"more than the {DECODED} that are allowed; give at most "
      f"{DECODED // each} of them, or a smaller --image_size."
    )
