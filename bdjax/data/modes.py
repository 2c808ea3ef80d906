"""What the pixels of an image file are, and how they become RGB of 8 bits.

As torchvision's ImageFolder does, by Pillow's `convert("RGB")`: transparency is
dropped, not blended; the first of several frames is taken; an orientation that
EXIF asks for is ignored. Unlike it, 16 bits are scaled to 8 and not clipped.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

DEEP = ("I", "I;16")  # 16 bits in files of the formats that are read
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", *DEEP)
_SIZES = 3  # that a sentence names, at most
_ORIENTATION = 0x0112  # in EXIF
_REMARKS = {
  "transparent": "Images with transparency: {}; it is dropped and the colours "
  "beneath are taken, as torchvision's ImageFolder does.",
  "turned": "Images that EXIF asks to turn or to mirror: {}; they are taken as "
  "they are stored, as torchvision's ImageFolder does.",
  "frames": "Images of several frames: {}; the first is taken, as "
  "torchvision's ImageFolder does.",
  "resized": "Images of another size: {}; they are resized as a whole, "
  "from {}, whatever their proportions.",
  "deep": "Gray images of 16 bits: {}; they are divided by 257, where "
  "torchvision's ImageFolder would clip them to white.",
  "dim": "Gray images of 16 bits without a value above 255: {}; they become "
  "black: save them with 8 bits if that is what they hold.",
}


def colour(image: Any) -> Any:
  """Returns a Pillow image, whose mode is one of `MODES`, as RGB."""
  from PIL import Image

  if image.mode in DEEP:
    levels = (np.asarray(image).astype(np.uint32) + 128) // 257
    image = Image.fromarray(levels.astype(np.uint8))
  return image if image.mode == "RGB" else image.convert("RGB")


def oddities(image: Any, shape: tuple[int, int, int]) -> set[str]:
  """Returns what users might expect otherwise of an image; decodes it.

  Args:
    image: of Pillow.
    shape: (H, W, 3) that is wanted.
  """
  image.load()
  several = getattr(image, "n_frames", 1) > 1 and image.format != "MPO"
  checks = {
    "transparent": _transparent(image),
    "turned": _orientation(image) in range(2, 9),
    "frames": several,  # a camera's MPO holds previews beside the photograph
    "resized": (image.height, image.width) != shape[:2],
    "deep": image.mode in DEEP,
    "dim": image.mode in DEEP and 0 < image.getextrema()[1] < 256,
  }
  return {kind for kind, holds in checks.items() if holds}


def remarks(
  paths: Sequence[Path],
  odd: Sequence[set[str]],
  sizes: Sequence[tuple[int, int]],
  shape: tuple[int, int, int],
) -> list[str]:
  """Returns a sentence for each oddity that images have.

  Args:
    paths: of the images.
    odd: what `oddities` says of each.
    sizes: (width, height) of each, in pixels.
    shape: (H, W, 3) that they get.
  """
  wanted = shape[1], shape[0]
  others = Counter(size for size in sizes if size != wanted)
  sentences = []
  for kind, sentence in _REMARKS.items():
    which = [p for p, kinds in zip(paths, odd, strict=True) if kind in kinds]
    if which:
      first = ascii(str(which[0]))[1:-1]
      count = f"{len(which)} of {len(paths)}, first {first}"
      sentences.append(sentence.format(count, _resizing(others, wanted)))
  return sentences


def _resizing(sizes: Counter[tuple[int, int]], wanted: tuple[int, int]) -> str:
  """Returns sizes before, the most frequent ones, and the one after."""
  shown = [f"{w} x {h}" for (w, h), _ in sizes.most_common(_SIZES)]
  rest = len(sizes) - len(shown)
  shown += [f"{rest} other sizes"] if rest else []
  return f"{', '.join(shown)} to {wanted[0]} x {wanted[1]} (width x height)"


def _transparent(image: Any) -> bool:
  if "A" in image.getbands():
    return image.getchannel("A").getextrema()[0] < 255
  return "transparency" in image.info


def _orientation(image: Any) -> Any:
  try:
    return image.getexif().get(_ORIENTATION)
  except Exception:  # damaged metadata, which nobody else reads
    return None
