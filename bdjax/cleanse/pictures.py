"""Reads a stranger's image files, in bounded memory.

Only Pillow's readers of common formats are tried, an image's size is read and
checked before any of it is decoded, and all images together may not take more
than `DECODED` bytes. Large ones are decoded one at a time: Pillow takes 4 bytes
a pixel, twice if it must convert, and its WebP and progressive JPEG decoders
several times that.
"""

import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

FORMATS = ("BMP", "JPEG", "PNG", "PPM", "WEBP")
FILE_BYTES = 2**26
PIXELS = 2**24  # of one image, before it is resized
DECODED = 2**31  # bytes of all images, as the model takes them
_AT_ONCE = 2  # images decoded at the same time
_LARGE = 2**21  # pixels above which an image is decoded alone


def printable(text: object) -> str:
  """Returns a stranger's text, such as a file's name, in printable ASCII."""
  return ascii(str(text))[1:-1]


def size(path: Path) -> tuple[int, int, int]:
  """Returns the shape that an image file has as RGB, from its header.

  Raises:
    ValueError: it is not an image, or too large.
  """
  with _quiet(), _opened(path) as image:
    return (image.height, image.width, 3)


def read(paths: Sequence[Path], shape: tuple[int, int, int]) -> np.ndarray:
  """Returns image files as [N, H, W, 3] uint8, each resized as a whole.

  Args:
    paths: the files.
    shape: (H, W, 3).

  Raises:
    ValueError: a file is not an image or too large, or all are; says which.
  """
  check_room(len(paths), shape)
  images = np.empty((len(paths), *shape), np.uint8)
  alone = threading.Lock()

  def fill(row):
    with _opened(paths[row]) as image, _turn(image, alone):
      images[row] = _fitted(image, shape)

  with _quiet(), ThreadPoolExecutor(_AT_ONCE) as pool:
    list(pool.map(fill, range(len(images))))
  return images


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


def _turn(image: Any, alone: threading.Lock) -> AbstractContextManager:
  return alone if image.width * image.height > _LARGE else nullcontext()


def _fitted(image: Any, shape: tuple[int, int, int]) -> np.ndarray:
  """Returns an image as RGB, resized as a whole before it becomes an array."""
  from PIL import Image

  height, width = shape[:2]
  if image.mode != "RGB":
    image = image.convert("RGB")
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
def _opened(path: Path) -> Iterator[Any]:
  """Opens an image that is worth decoding; says what is wrong with others."""
  from PIL import Image

  with _open(path) as file:
    try:
      image = Image.open(file, formats=FORMATS)
      width, height = image.size
      if width * height <= PIXELS:
        yield image
        return
    except Image.DecompressionBombError:  # Pillow's own limit, and higher
      pass
    except Exception:  # damaged files make decoders raise nearly anything
      raise ValueError(
        f"{printable(path)} is damaged, or no image of a format that is read "
        f"({', '.join(FORMATS)}); remove it, or save it as one."
      ) from None
  raise ValueError(
    f"{printable(path)} has more pixels than the {PIXELS} that are decoded; "
    "remove it, or make it smaller."
  )


def _open(path: Path) -> Any:
  """Opens a file that is no larger than an image may be."""
  try:
    weight = os.stat(path).st_size
    if weight <= FILE_BYTES:
      return open(path, "rb")
  except OSError as fault:
    raise ValueError(
      f"{printable(path)} cannot be opened ({fault.strerror}); remove it."
    ) from None
  raise ValueError(
    f"{printable(path)} has {weight} bytes, more than the {FILE_BYTES} that "
    "are read of an image; remove it, or make it smaller."
  )
