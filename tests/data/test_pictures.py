"""Odd image files become the RGB that people expect, or get one sentence.

The reference is torchvision's loader, which is Pillow's `convert("RGB")`.
"""

import io
import os
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from bdjax.data import effort, pictures

BLACK, WHITE = [0, 0, 0], [255, 255, 255]


def saved(image, kind, **options):
  buffer = io.BytesIO()
  image.save(buffer, kind, **options)
  return buffer.getvalue()


def deep(*levels):
  return Image.fromarray(np.array([levels], np.uint16))


def palette():
  image = Image.new("P", (2, 1))
  image.putpalette([9, 8, 7, 1, 2, 3])
  image.putpixel((1, 0), 1)
  return image


def turned(orientation):
  exif = Image.Exif()
  exif[0x0112] = orientation
  image = Image.new("RGB", (2, 1))
  image.putpixel((0, 0), (255, 255, 255))
  return saved(image, "PNG", exif=exif)


def flat(*pixels, mode="RGB"):
  image = Image.new(mode, (len(pixels), 1))
  image.putdata(pixels)
  return image


def frames(kind, **options):
  """Returns a file of two images, of which the first is (1, 2, 3)."""
  others = [flat((9, 9, 9))]
  return saved(
    flat((1, 2, 3)), kind, save_all=True, append_images=others, **options
  )


GRAY = "Gray images of 16 bits: 1 of 1, first "
SEEN = "Images with transparency: 1 of 1, first "
MOVING = "Images of several frames: 1 of 1, first "
TURNED = "Images that EXIF asks to turn or to mirror: 1 of 1, first "
CASES = {  # name -> (file, pixels, start of what is said)
  # 128 x 257 = 32896; 384 / 257 = 1.49, 386 / 257 = 1.502
  "16 bits, PNG": (
    saved(deep(0, 384, 386, 32896, 65535), "PNG"),
    [BLACK, [1] * 3, [2] * 3, [128] * 3, WHITE],
    GRAY,
  ),
  "16 bits, PGM": (saved(deep(0, 65535), "PPM"), [BLACK, WHITE], GRAY),
  "10 bits, PGM": (  # 511 / 1023 of 255 is 127.4
    b"P5 3 1 1023\n" + struct.pack(">3H", 0, 511, 1023),
    [BLACK, [127] * 3, WHITE],
    GRAY,
  ),
  "4 bits, PGM": (b"P5 2 1 15\n\x05\x0f", [[85] * 3, WHITE], None),
  "16 bits, PPM": (
    b"P6 1 1 65535\n" + struct.pack(">3H", 0, 32896, 65535),
    [[0, 128, 255]],
    None,
  ),
  "1 bit, PNG": (
    saved(flat(0, 255, mode="1"), "PNG"),
    [BLACK, WHITE],
    None,
  ),
  "1 bit, PBM": (b"P4 2 1\n\x80", [BLACK, WHITE], None),
  "gray": (saved(flat(7, mode="L"), "PNG"), [[7] * 3], None),
  "gray, transparent": (
    saved(flat((200, 0), mode="LA"), "PNG"),
    [[200] * 3],
    SEEN,
  ),
  "transparent": (
    saved(flat((10, 20, 30, 0), mode="RGBA"), "PNG"),
    [[10, 20, 30]],
    SEEN,
  ),
  "with an alpha of 255": (
    saved(flat((10, 20, 30, 255), mode="RGBA"), "PNG"),
    [[10, 20, 30]],
    None,
  ),
  "a colour that stands for nothing": (
    saved(flat((1, 2, 3)), "PNG", transparency=(1, 2, 3)),
    [[1, 2, 3]],
    SEEN,
  ),
  "a palette": (saved(palette(), "PNG"), [[9, 8, 7], [1, 2, 3]], None),
  "a palette, transparent": (
    saved(palette(), "PNG", transparency=b"\x00\x80"),
    [[9, 8, 7], [1, 2, 3]],
    SEEN,
  ),
  "CMYK": (
    saved(Image.new("CMYK", (1, 1), (255, 0, 0, 0)), "JPEG", quality=100),
    [[0, 255, 255]],
    None,
  ),
  "two frames, PNG": (frames("PNG"), [[1, 2, 3]], MOVING),
  "two frames, WebP": (frames("WEBP", lossless=True), [[1, 2, 3]], MOVING),
  "to be mirrored": (turned(2), [WHITE, BLACK], TURNED),
  "to be turned": (turned(6), [WHITE, BLACK], TURNED),
  "to be left alone": (turned(1), [WHITE, BLACK], None),
  "of another size": (
    saved(flat((0, 0, 0), (200, 200, 200)), "PNG"),
    [[100] * 3],
    "Images of another size: 1 of 1, first ",
  ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_pixels_and_what_is_said(tmp_path, name):
  content, expected, words = CASES[name]
  (tmp_path / "x").write_bytes(content)
  (image,), said = pictures.read([tmp_path / "x"], (1, len(expected), 3))
  assert image.tolist() == [expected]
  assert len(said) == (words is not None)
  assert not said or said[0].startswith(f"{words}{tmp_path / 'x'};")


@pytest.mark.parametrize("name", [n for n in CASES if "bits" not in n])
def test_it_is_what_torchvision_s_loader_reads(tmp_path, name):
  content, expected, _ = CASES[name]
  with warnings.catch_warnings(action="ignore"):
    image = Image.open(io.BytesIO(content)).convert("RGB")
  same = image.resize((len(expected), 1), Image.Resampling.BILINEAR)
  assert np.asarray(same).tolist() == [expected]


def test_oddities_are_counted_once_for_all_files(tmp_path):
  for i, name in enumerate(("gray", "transparent", "gray, transparent")):
    (tmp_path / str(i)).write_bytes(CASES[name][0])
  paths = sorted(tmp_path.iterdir())
  _, said = pictures.read(paths, (1, 1, 3))
  assert said == [
    f"Images with transparency: 2 of 3, first {tmp_path / '1'}; it is dropped "
    "and the colours beneath are taken, as torchvision's ImageFolder does."
  ]


def test_sizes_before_and_after_are_said(tmp_path):
  sizes = [(4, 2), (4, 2), (2, 2), (6, 1), (5, 1), (3, 9)]
  for i, size in enumerate(sizes):
    Image.new("RGB", size).save(tmp_path / f"{i}.png")
  paths = sorted(tmp_path.iterdir())
  assert pictures.read(paths, (2, 2, 3))[1] == [
    f"Images of another size: 5 of 6, first {paths[0]}; they are resized as a "
    "whole, from 4 x 2, 6 x 1, 5 x 1, 1 other sizes to 2 x 2 (width x height), "
    "whatever their proportions."
  ]
  assert pictures.read(paths[:3], (2, 4, 3))[1] == [
    f"Images of another size: 1 of 3, first {paths[2]}; they are resized as a "
    "whole, from 2 x 2 to 4 x 2 (width x height), whatever their proportions."
  ]


def test_eight_bits_kept_in_sixteen_are_said_to_become_black(tmp_path):
  deep(0, 255).save(tmp_path / "0.png")
  deep(0, 256).save(tmp_path / "1.png")
  deep(0, 0).save(tmp_path / "2.png")
  _, said = pictures.read(sorted(tmp_path.iterdir()), (1, 2, 3))
  assert [s.partition(";")[0] for s in said] == [
    f"Gray images of 16 bits: 3 of 3, first {tmp_path / '0.png'}",
    "Gray images of 16 bits without a value above 255: 1 of 3, first "
    f"{tmp_path / '0.png'}",
  ]


def progressive(scans):
  """Returns a JPEG file that repeats its last scan."""
  raw = saved(Image.new("RGB", (8, 8)), "JPEG", progressive=True)
  last = raw.rindex(b"\xff\xda")
  return raw[:-2] + raw[last:-2] * scans + raw[-2:]


def chunks(count):
  """Returns a PNG file with many empty comments."""
  raw = saved(Image.new("RGB", (8, 8)), "PNG")
  empty = (
    struct.pack(">I", 0) + b"teSt" + struct.pack(">I", zlib.crc32(b"teSt"))
  )
  return raw[:33] + count * empty + raw[33:]


@pytest.mark.parametrize(
  ("content", "words"),
  [
    (progressive(20_000), "more than 100 scans"),
    (b"\xff\xd8" + 200_000 * b"\xff\xfe\0\2", "more than 100000 parts"),
    (chunks(100_000), "more than 100000 parts"),
    (b"P6 #" + b"a" * 2000 + b"\n8 8 255\n", "a header of more than 1024"),
    (b"P6" + b" " * 2000 + b"8 8 255\n", "a header of more than 1024"),
    (b"P3 8 8 255\n" + b"#\n" * 1001, "more than 1000 comments"),
    (b"P3 8 8 255\n" + b"1 " * 2**21, "bytes of a kind that is decoded slow"),
    (b"P5 2048 2048 99\n" + bytes(2**22), "a kind that is decoded slowly"),
    (b"Pf\n1 1\n-1.0\n" + struct.pack("<f", 0.5), "pixels of mode F"),
    (saved(flat((1, 2, 3)), "TIFF"), "no image of a format that is read"),
    (saved(flat((1, 2, 3)), "GIF"), "no image of a format that is read"),
  ],
)
def test_what_nobody_needs_is_refused_before_it_is_decoded(
  tmp_path, content, words
):
  path = tmp_path / "x.png"
  path.write_bytes(content)
  for read in (pictures.size, lambda p: pictures.read([p], (8, 8, 3))):
    with pytest.raises(ValueError, match=words) as caught:
      read(path)
    assert str(caught.value).startswith(f"{path} ")


def test_what_encoders_make_is_not_refused():
  assert effort.excess(io.BytesIO(progressive(0))) is None
  thumbnail = b"\xff\xe1\x01\x02" + b"\xff\xda" * 128  # bytes of a segment
  video = b"\0" + b"\xff\xda\0\2" * 200  # after the end, as telephones write
  for raw in (
    b"P6\n# made by hand\n2048 2048\n255\n" + bytes(3 * 2**22),
    b"P4 8 1\n\0",
    progressive(80),
    b"\xff\xd8" + thumbnail + progressive(0)[2:] + video,
    saved(Image.new("RGB", (8, 8)), "PNG") + bytes(12 * 200_000),
  ):
    assert effort.excess(io.BytesIO(raw)) is None


@pytest.mark.parametrize(
  "put",
  [os.mkfifo, lambda path: path.symlink_to("/dev/zero")],
  ids=["pipe", "device"],
)
def test_only_regular_files_are_opened(tmp_path, put):
  put(tmp_path / "x.png")
  with pytest.raises(ValueError, match="x.png cannot be opened .it is no reg"):
    pictures.size(tmp_path / "x.png")
