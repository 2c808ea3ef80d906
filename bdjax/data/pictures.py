"""Opens and resizes image files: whole image, bilinear, RGB."""

from pathlib import Path
from typing import Any

import numpy as np


def fit(image: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
  """Returns an image [h, w, 3] uint8 resized to a shape, if it differs."""
  if image.shape == shape:
    return image
  from PIL import Image

  return _resized(Image.fromarray(image), shape)


def read(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
  """Returns an image file as [H, W, 3] uint8, resized to a shape.

  Raises:
    ValueError: the file is not an image that Pillow can read.
  """
  from PIL import Image, UnidentifiedImageError

  try:
    with Image.open(path) as image:
      return _resized(image.convert("RGB"), shape)
  except (UnidentifiedImageError, OSError) as error:
    raise ValueError(
      f"{path} cannot be read as an image ({error}); remove or replace it."
    ) from error


def size(path: Path) -> tuple[int, int, int]:
  """Returns the shape that an image file has as RGB."""
  from PIL import Image

  with Image.open(path) as image:
    return (image.height, image.width, 3)


def _resized(image: Any, shape: tuple[int, int, int]) -> np.ndarray:
  from PIL import Image

  height, width = shape[:2]
  if image.size != (width, height):
    image = image.resize((width, height), Image.Resampling.BILINEAR)
  return np.asarray(image)
