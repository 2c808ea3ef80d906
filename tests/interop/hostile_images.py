"""Folders and files of images, and lists of names, that cannot be used.

Each is a function: (folder) -> the path that the user would give.
"""

import functools
import io
import os
import struct
import zlib
from pathlib import Path

import forging as f
from PIL import Image


def saved(kind: str, side: int = 8, mode: str = "RGB", **options) -> bytes:
  buffer = io.BytesIO()
  Image.new(mode, (side, side)).save(buffer, kind, **options)
  return buffer.getvalue()


sound = functools.cache(lambda: saved("PNG"))


def layout(at: Path, names=("a", "b"), count: int = 2) -> Path:
  """Lays out sound images, a folder per name."""
  top = at / "images"
  for name in names:
    (top / name).mkdir(parents=True)
    for i in range(count):
      (top / name / f"{i}.png").write_bytes(sound())
  return top


def amid(raw, name: str = "x.png"):
  """Returns a maker of sound images with a file among them."""

  def make(at: Path) -> Path:
    top = layout(at)
    (top / "a" / name).write_bytes(raw() if callable(raw) else raw)
    return top

  return make


def chunk(kind: bytes, body: bytes) -> bytes:
  crc = zlib.crc32(kind + body)
  return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)


def png(side: int, *chunks: bytes, data: bytes = bytes(10_000)) -> bytes:
  """Returns a PNG file that claims to be a square of colour."""
  header = struct.pack(">2I5B", side, side, 8, 2, 0, 0, 0)
  parts = chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(data))
  return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def texts(count: int, size: int) -> bytes:
  """Returns a PNG file with comments that expand."""
  body = b"\0\0" + zlib.compress(bytes(size), 9)
  return png(8, *(chunk(b"zTXt", b"k%d" % i + body) for i in range(count)))


def claiming(raw: bytes, mark: bytes, offset: int, size: bytes) -> bytes:
  at = raw.index(mark) + offset
  return raw[:at] + size + raw[at + len(size) :]


def jpeg(side: int) -> bytes:
  size = struct.pack(">2H", side, side)
  return claiming(saved("JPEG", 64), b"\xff\xc0", 5, size)


def scans() -> bytes:
  """Returns a JPEG file that asks for 20,000 passes over 16 million pixels."""
  raw = saved("JPEG", 4096, progressive=True)
  last = raw.rindex(b"\xff\xda")
  return raw[:-2] + raw[last:-2][:32] * 20_000 + raw[-2:]


def bmp(width: int, height: int) -> bytes:
  size = struct.pack("<2i", width, height)
  return claiming(saved("BMP"), b"BM", 18, size)


def webp() -> bytes:
  """Returns a WebP file that claims 16384 x 16384 pixels."""
  size = b"\xff\x3f\0" * 2
  head = b"VP8X" + struct.pack("<I", 10) + b"\2\0\0\0" + size
  body = b"WEBP" + head + b"ANIM" + struct.pack("<I", 6) + bytes(6)
  return b"RIFF" + struct.pack("<I", len(body)) + body


def odd(name: str, put) -> object:
  """Returns a maker of sound images with something that is no file."""

  def make(at: Path) -> Path:
    top = layout(at)
    put(top / "a" / name)
    return top

  return make


def long(path: Path) -> None:
  with open(path, "wb") as file:
    file.write(sound())
    file.truncate(2**26 + 1)


def looped(at: Path) -> Path:
  top = layout(at, "a")
  (top / "b").symlink_to("b")
  return top


def void(at: Path) -> Path:
  (layout(at) / "c").mkdir()
  return at / "images"


def tabled(at: Path) -> Path:
  table = "Filename;ClassId\n0.png;0\n"
  (layout(at) / "a" / "GT.csv").write_text(table)
  return at / "images" / "a"


def of(names, count: int = 2):
  return lambda at: layout(at, names, count)


def naming(raw: bytes):
  def make(at: Path) -> Path:
    (at / "names").write_bytes(raw)
    return at / "names"

  return make


def pipe(at: Path) -> Path:
  os.mkfifo(at / "names")
  return at / "names"


def empty(at: Path) -> Path:
  (at / "images").mkdir()
  return at / "images"


IMAGES = {
  "an empty image": amid(b""),
  "text as an image": amid(b"no image"),
  "a PostScript program as an image": amid(b"%!PS-Adobe-3.0 EPSF-3.0\n"),
  "an SVG that reads a file": amid(
    b'<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>',
    "x.svg",
  ),
  "a PDF as an image": amid(b"%PDF-1.7\n"),
  "a pickle as an image": amid(b"cposix\nsystem\n(S'true'\ntR."),
  "a PyTorch file as an image": amid(lambda: f.checkpoint({})),
  "a GIF": amid(lambda: saved("GIF"), "x.gif"),
  "a TIFF": amid(lambda: saved("TIFF"), "x.tif"),
  "a PNG of 60,000 x 60,000": amid(lambda: png(60_000)),
  "a PNG of 2 ** 31 x 2 ** 31": amid(lambda: png(2**31 - 1)),
  "a PNG of 6,000 x 6,000": amid(lambda: png(6_000)),
  "a PNG of 0 x 0": amid(lambda: png(0)),
  "a PNG that is cut off": amid(lambda: sound()[:40]),
  "a PNG with too few pixels": amid(lambda: png(2_000)),
  "a PNG with a wrong checksum": amid(
    lambda: claiming(png(8), b"IHDR", 17, b"\0\0\0\1")
  ),
  "a PNG with a comment of 100 MB": amid(lambda: texts(1, 10**8)),
  "a PNG with 65 comments of 1 MB": amid(lambda: texts(65, 2**20)),
  "a PNG with a profile of 100 MB": amid(
    lambda: png(8, chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(10**8))))
  ),
  "a JPEG of 65,500 x 65,500": amid(lambda: jpeg(65_500), "x.jpg"),
  "a JPEG that is cut off": amid(lambda: saved("JPEG", 64)[:300], "x.jpg"),
  "a JPEG of 20,000 scans": amid(scans, "x.jpg"),
  "a JPEG of 4 million comments": amid(
    lambda: b"\xff\xd8" + 2**22 * b"\xff\xfe\0\2", "x.jpg"
  ),
  "a PNG of 2 million comments": amid(
    lambda: png(8, chunk(b"teSt", b"") * 2**21)
  ),
  "a PFM, of decimal numbers": amid(b"Pf\n1 1\n-1.0\n\0\0\0\0", "x.pfm"),
  "a BMP of 2 ** 31 x 2 ** 31": amid(lambda: bmp(2**31 - 1, 2**31 - 1)),
  "a BMP of 40,000 x -40,000": amid(lambda: bmp(40_000, -40_000), "x.bmp"),
  "a PPM of 10 ** 9 x 10 ** 9": amid(
    b"P6 1000000000 1000000000 255\n", "x.ppm"
  ),
  "a PPM of 10 ** 400": amid(b"P6 1" + b"0" * 400 + b" 8 255\n", "x.ppm"),
  "a PPM that is a comment of 63 MiB": amid(
    lambda: b"P6 #" + 63 * 2**20 * b"x", "x.ppm"
  ),
  "a PPM of a million comments": amid(
    lambda: b"P3 8 8 255\n" + 2**20 * b"#\n", "x.ppm"
  ),
  "a PPM of 30 million numbers as text": amid(
    lambda: b"P3 4096 4096 255\n" + 30 * 10**6 * b"1 ", "x.ppm"
  ),
  "a PPM of -8 x 8": amid(b"P6 -8 8 255\n" + bytes(192), "x.ppm"),
  "a WebP of 16,384 x 16,384": amid(webp, "x.webp"),
  "a WebP that is cut off": amid(lambda: saved("WEBP", 64)[:40], "x.webp"),
  "an image of 65 MiB": odd("x.png", long),
  "a pipe among images": odd("x.png", os.mkfifo),
  "a folder among images": odd("x.png", Path.mkdir),
  "a link to /dev/zero among images": odd(
    "x.png", lambda path: path.symlink_to("/dev/zero")
  ),
  "a link to itself among images": odd(
    "x.png", lambda path: path.symlink_to("x.png")
  ),
  "a link to nothing among images": odd(
    "x.png", lambda path: path.symlink_to("nowhere")
  ),
  "an image's name with terminal codes": amid(b"", "a\nb\x1b[31m.png"),
  "an image's name that is no text": amid(b"", os.fsdecode(b"\xff\xfe.png")),
  "images of two sizes": amid(lambda: saved("PNG", 16)),
}
FOLDERS = {
  "a folder that is not there": lambda at: at / "nowhere",
  "a file for a folder": lambda at: naming(b"x")(at),
  "a folder without folders": empty,
  "three folders for two classes": of("abc"),
  "a class of one image": of("ab", 1),
  "a class of no image": void,
  "images beside a table of some of them": tabled,
  "folders numbered up to 10 ** 30": of(("0", "1" + "0" * 30)),
  "folders 0 and 00": of(("0", "00")),
  "a class that is a link to itself": looped,
  "a class's name with terminal codes": of(("a", "b\n\x1b[31m", "c")),
}
TRIGGERED = {
  "suspected images of a class that is none": of("c"),
  "a folder of no suspected images": empty,
}
NAMES = {
  "names of classes that repeat": naming(b"a\na\n"),
  "no names of classes": naming(b""),
  "names of classes that are no text": naming(b"\xff\xfe\0"),
  "names of classes that are numbers": naming(b"[1, 2]"),
  "names of classes 100,000 lists deep": naming(b"[" * 10**5),
  "2 MB of names of classes": naming(b"ab\n" * 700_000),
  "a folder for names of classes": lambda at: at,
  "a pipe for names of classes": pipe,
  "a device for names of classes": lambda at: Path("/dev/zero"),
}
LARGE = {  # sound: they are read
  "a PNG of 4,096 x 4,096 that packs 1,000 to 1": amid(
    lambda: png(4096, data=bytes(4096 * (3 * 4096 + 1)))
  ),
  "a PNG of 4,096 x 4,096 with transparency": amid(
    lambda: saved("PNG", 4096, "RGBA", compress_level=1)
  ),
  "a progressive JPEG of 4,096 x 4,096": amid(
    lambda: saved("JPEG", 4096, progressive=True, subsampling=0), "x.jpg"
  ),
  "a WebP of 4,096 x 4,096": amid(
    lambda: saved("WEBP", 4096, lossless=True, method=0), "x.webp"
  ),
}
