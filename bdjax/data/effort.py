"""Counts the parts of an image file that make decoding slow, before it is done.

A JPEG file of a few hundred kilobytes can ask for thousands of passes over the
whole image, a file of millions of empty parts keeps Pillow's Python busy, and
so do the kinds of PPM that it decodes number by number.
"""

import re
from typing import BinaryIO

SCANS = 100  # of a JPEG file; encoders make about ten
PARTS = 100_000  # segments of a JPEG file, chunks of a PNG file
HEADER = 1024  # bytes of a PPM file
COMMENTS = 1000  # of a PPM file that is text
SLOW = 2**22  # bytes of a PPM file that Pillow decodes number by number
_PNG = b"\x89PNG\r\n\x1a\n"
_FAST = ((b"P5", b"255"), (b"P5", b"65535"), (b"P6", b"255"))
_SOI, _TEM, _EOI, _SOS = b"\xd8", b"\x01", b"\xd9", b"\xda"
# FF 00 is a byte of the image, FF D0 to FF D7 stand between such bytes
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")


def excess(file: BinaryIO) -> str | None:
  """Returns what an image file has too much of, or None; rewinds the file."""
  start = file.read(len(_PNG))
  file.seek(0)
  if start.startswith(b"\xff\xd8"):
    fault = _jpeg(file.read())
  elif re.match(b"P[0-6fy]", start):
    fault = _ppm(file)
  else:
    fault = _png(file) if start == _PNG else None
  file.seek(0)
  return fault


def _jpeg(raw: bytes) -> str | None:
  """Walks from marker to marker, as a decoder does."""
  offset = scans = parts = 0
  while marker := _MARKER.search(raw, offset):
    offset, kind = marker.end(), marker[1]
    scans, parts = scans + (kind == _SOS), parts + 1
    if scans > SCANS:
      return f"more than {SCANS} scans"
    if parts > PARTS:
      return f"more than {PARTS} parts"
    if kind == _EOI and scans:  # what follows is no part of the image
      break
    if kind not in (_SOI, _TEM, _EOI):
      offset += max(2, int.from_bytes(raw[offset : offset + 2], "big"))
  return None


def _png(file: BinaryIO) -> str | None:
  file.seek(len(_PNG))
  for _ in range(PARTS):
    head = file.read(8)
    if len(head) < 8 or head[4:] == b"IEND":
      return None
    file.seek(int.from_bytes(head[:4], "big") + 4, 1)  # and its checksum
  return f"more than {PARTS} parts"


def _ppm(file: BinaryIO) -> str | None:
  head = re.sub(rb"#[^\r\n]*", b" ", file.read(HEADER)).split()
  kind, maximum = head[0][:2], head[3:4]
  if len(head) < (3 if kind in (b"P1", b"P4") else 4):
    return f"a header of more than {HEADER} bytes"
  file.seek(0)
  if kind == b"P4" or (kind, *maximum) in _FAST:
    return None
  raw = file.read(SLOW + 1)
  if len(raw) > SLOW:
    return f"more than {SLOW} bytes of a kind that is decoded slowly"
  text = kind in (b"P1", b"P2", b"P3")
  if text and raw.count(b"#") > COMMENTS:
    return f"more than {COMMENTS} comments"
  return None
