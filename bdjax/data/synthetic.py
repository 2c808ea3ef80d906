"""A procedural set of small images: five shapes times two textures.

The default of the quickstart and of the tests: no download, and the same bytes
on every machine. A class is a shape (disc, ring, square, triangle, cross),
plain or striped. Place, size, tilt, stripes, colors and the clutter behind are
random and drawn alike for all classes, so color alone reveals little. Mirroring
and 4-pixel crops keep the class. Values stay within 16..239, so no image holds
a white trigger.

Only raw PCG64 bits and integer arithmetic are used: their results depend
neither on the numpy version nor on the processor.
"""

import functools
import math

import numpy as np

SIZE = 32
SPLITS = {"train": 5_120, "test": 1_000}  # 5 % of 5,120: a batch of 256
MOST = 100_000  # images that are generated: a minute's work
SHAPES = ("disc", "ring", "square", "triangle", "cross")
TEXTURES = ("plain", "striped")
CLASS_NAMES = tuple(f"{fill}_{shape}" for shape in SHAPES for fill in TEXTURES)

_CHUNK = 500  # examples per stream of random bits, so a set is a prefix
_LOW, _HIGH = 16, 240
# sin in 1/256: a table, since libm's last digit varies between machines
_SIN = np.array(
  [round(256 * math.sin(math.tau * i / 256)) for i in range(256)], np.int32
)


class _Bits:
  """Draws integers from the raw bits of a PCG64 stream."""

  def __init__(self, seed: int) -> None:
    self._stream = np.random.PCG64(seed)

  def __call__(self, shape: tuple[int, ...], low: int, high: int) -> np.ndarray:
    """Returns int32 uniform in [low, high); high - low <= 2**15."""
    count = math.prod(shape)
    raw = self._stream.random_raw(-(-count // 4)).astype("<u8")
    bits = raw.view("<u2")[:count].reshape(shape).astype(np.int32)
    return low + (bits * (high - low) >> 16)


def generate(
  split: str, images: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
  """Draws the first images of a split.

  Args:
    split: "train" or "test"; their streams differ.
    images: how many; 5,120 and 1,000 by default. Fewer are a prefix of more.

  Returns:
    images [N, 32, 32, 3] uint8 and labels [N] int32, classes taking turns.
  """
  count = SPLITS[split] if images is None else images
  offset = list(SPLITS).index(split) << 32
  starts = range(0, count, _CHUNK)
  chunks = [_chunk(offset + start // _CHUNK) for start in starts]
  label = np.arange(count, dtype=np.int32) % len(CLASS_NAMES)
  return np.concatenate(chunks)[:count], label  # not what is remembered


@functools.lru_cache(maxsize=12)  # as many as both splits have, 18 MB
def _chunk(seed: int) -> np.ndarray:
  draw = _Bits(seed)
  label = np.arange(_CHUNK) % len(CLASS_NAMES)
  light, dim, ground = _colors(draw)
  inside, fill = _mask(draw, label)
  ink = np.where(fill[..., None], light, dim)
  image = np.where(inside[..., None], ink, ground + _clutter(draw))
  noise = draw(image.shape, -6, 7) + draw(image.shape, -6, 7)
  return np.clip(image + noise, _LOW, _HIGH - 1).astype(np.uint8)


def _colors(draw: _Bits) -> list[np.ndarray]:
  """Draws two inks and a darker ground, [n, 1, 1, 3]: a gray and a tint."""
  grays = (180, 230), (120, 150), (40, 110)
  return [
    draw((_CHUNK, 1, 1, 1), *gray) + draw((_CHUNK, 1, 1, 3), -30, 31)
    for gray in grays
  ]


def _clutter(draw: _Bits) -> np.ndarray:
  """Draws a sum of coarse colored waves, [n, 32, 32, 3]."""
  row, column = np.mgrid[:SIZE, :SIZE].astype(np.int32)
  total = 0
  for _ in range(3):
    shape = (_CHUNK, 1, 1)
    # 8 steps of 256 a pixel are one wave across the image
    phase = draw(shape, -8, 9) * row + draw(shape, -8, 9) * column
    wave = _SIN[(phase + draw(shape, 0, 256)) & 255]
    total = total + (wave[..., None] * draw((_CHUNK, 1, 1, 3), -20, 21) >> 8)
  return total


def _mask(draw: _Bits, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns where the shape is and where its light ink is, [n, 32, 32]."""
  shape = (_CHUNK, 1, 1)
  row, column = 16 * np.mgrid[:SIZE, :SIZE].astype(np.int32) + 8
  y = row - draw(shape, 11 * 16, 21 * 16)  # in 1/16 pixel from the center
  x = column - draw(shape, 11 * 16, 21 * 16)
  # 16/256 of a turn: a small net learns this much tilt in a few epochs
  u, v = _rotate(x, y, draw(shape, -16, 17))
  outlines = _outlines(u, v, draw(shape, 8 * 16, 11 * 16))
  kind = (label // len(TEXTURES))[:, None, None]
  inside = np.select([kind == i for i in range(len(SHAPES))], outlines)
  # 30..43 steps of 256 a pixel: a period of 6 to 9 pixels
  along, _ = _rotate(x, y, draw(shape, 0, 256))
  stripes = _SIN[(along * draw(shape, 30, 44) >> 4) & 255] > 0
  plain = (label % len(TEXTURES) == 0)[:, None, None]
  return inside, stripes | plain


def _rotate(
  x: np.ndarray, y: np.ndarray, angle: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  cos, sin = _SIN[(angle + 64) & 255], _SIN[angle & 255]
  return (x * cos + y * sin) >> 8, (y * cos - x * sin) >> 8


def _outlines(u: np.ndarray, v: np.ndarray, r: np.ndarray) -> list[np.ndarray]:
  """Returns the shapes of size r around the origin, in the order of SHAPES."""
  square = u * u + v * v
  across, along = abs(u), abs(v)
  wide = np.maximum(across, along)
  slant = (across * 222 - v * 128) >> 8  # 222/256 = sin 60 degrees
  return [
    square < r * r,
    (square < r * r) & (4 * square > r * r),
    10 * wide < 9 * r,
    np.maximum(v, slant) < 10 * r >> 4,
    (wide < r) & (3 * np.minimum(across, along) < r),
  ]
