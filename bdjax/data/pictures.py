"""Opens image files, and resizes them: whole image, bilinear, RGB.

Only Pillow's readers of common formats are tried, and an image's size and how
many parts its file has are read and checked before any of it is decoded.
"""

import threading
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from bdjax.data import effort, modes
from bdjax.machine import storage

FORMATS = ("BMP", "JPEG", "PNG", "PPM", "WEBP")
_LARGE = 2**21  # pixels above which an image is decoded alone


class Limits(NamedTuple):
  """How large an image may be, and how many are decoded at the same time.

  Attributes:
    pixels: of one image, before it is resized.
    weight: bytes of its file.
    threads: that decode.
  """

  pixels: int
  weight: int
  threads: int


OWN = Limits(pixels=2**27, weight=2**30, threads=4)  # of whom a user trusts


def printable(text: object) -> str:
  """Returns a stranger's text, such as a file's name, in printable ASCII."""
  return ascii(str(text))[1:-1]


def fit(image: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
  """Returns an image [h, w, 3] uint8 resized to a shape, if it differs."""
  if image.shape == shape:
    return image
  from PIL import Image

  return _resized(Image.fromarray(image), shape)


def size(path: Path, limits: Limits = OWN) -> tuple[int, int, int]:
  """Returns the shape that an image file has as RGB, from its header.

  Raises:
    ValueError: it is not an image, or too large.
  """
  with _quiet(), _opened(path, limits) as image:
    return (image.height, image.width, 3)


def read(
  paths: Sequence[Path], shape: tuple[int, int, int], limits: Limits = OWN
) -> tuple[np.ndarray, list[str]]:
  """Reads image files, each resized as a whole.

  Args:
    paths: the files.
    shape: (H, W, 3).
    limits: of each.

  Returns:
    images [N, H, W, 3] uint8, and sentences about what was done to some.

  Raises:
    ValueError: a file is not an image, or too large; says which.
  """
  images, alone = np.empty((len(paths), *shape), np.uint8), threading.Lock()

  def fill(row):
    with _opened(paths[row], limits) as image:
      large = image.width * image.height > _LARGE
      with alone if large else nullcontext():
        odd = modes.oddities(image, shape)
        images[row] = _resized(modes.colour(image), shape)
      return odd, image.size

  with _quiet(), ThreadPoolExecutor(limits.threads) as pool:
    seen = list(pool.map(fill, range(len(images))))
  odd, sizes = [odd for odd, _ in seen], [size for _, size in seen]
  return images, modes.remarks(paths, odd, sizes, shape)


def _resized(image: Any, shape: tuple[int, int, int]) -> np.ndarray:
  from PIL import Image

  height, width = shape[:2]
  if image.size != (width, height):
    image = image.resize((width, height), Image.Resampling.BILINEAR)
  return np.asarray(image)


@contextmanager
def _quiet() -> Iterator[None]:
  """Silences warnings of odd metadata and of sizes, which are checked here."""
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    yield


@contextmanager
def _opened(path: Path, limits: Limits) -> Iterator[Any]:
  """Opens an image that is worth decoding; says what is wrong with others."""
  from PIL import Image

  with _file(path, limits) as file:
    try:
      fault = effort.excess(file)
      image = None if fault else Image.open(file, formats=FORMATS)
      fault = fault or _fault(image, limits)
      if fault is None:
        yield image
        return
    except Image.DecompressionBombError:  # Pillow's own limit, and higher
      fault = f"more pixels than the {limits.pixels} that are decoded"
    except Exception:  # damaged files make decoders raise nearly anything
      raise ValueError(
        f"{printable(path)} is damaged, or no image of a format that is read "
        f"({', '.join(FORMATS)}); remove it, or save it as one."
      ) from None
  raise ValueError(
    f"{printable(path)} has {fault}; remove it, or save it as a smaller or "
    "plainer image."
  )


def _fault(image: Any, limits: Limits) -> str | None:
  """Returns what an image has that is not read."""
  if image.width * image.height > limits.pixels:
    return f"more pixels than the {limits.pixels} that are decoded"
  if image.mode not in modes.MODES:
    return f"pixels of mode {image.mode}, whose black and white nobody says"
  return None


def _file(path: Path, limits: Limits) -> BinaryIO:
  """Opens a file that is no larger than an image may be."""
  try:
    weight = path.stat().st_size
    if weight <= limits.weight:
      return storage.regular(path)
  except OSError as fault:
    raise ValueError(
      f"{printable(path)} cannot be opened ({fault.strerror}); remove it."
    ) from None
  raise ValueError(
    f"{printable(path)} has {weight} bytes, more than the {limits.weight} that "
    "are read of an image; remove it, or make it smaller."
  )
