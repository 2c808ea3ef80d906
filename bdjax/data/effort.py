"""Counts the parts of an image file that make decoding slow, before it is done.

A JPEG file of a few hundred kilobytes can ask for thousands of passes over the
whole image, and a file of millions of empty parts keeps Pillow's Python busy.
"""

import re
from typing import BinaryIO

SCANS = 100  # of a JPEG file; encoders make about ten
PARTS = 100_000  # segments of a JPEG file, chunks of a PNG file
_PNG = b"\x89PNG\r\n\x1a\n"
_SOI, _TEM, _EOI, _SOS = b"\xd8", b"\x01", b"\xd9", b"\xda"
# FF 00 is a byte of the image, FF D0 to FF D7 stand between such bytes
_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")


def excess(file: BinaryIO) -> str | None:
  """Returns what an image file has too much of, or None; rewinds the file."""
  start = file.read(len(_PNG))
  file.seek(0)
  if start.startswith(b"\xff\xd8"):
    fault = _jpeg(file.read())
  else:
    fault = _png(file) if start == _PNG else None
  file.seek(0)
  return fault


def _jpeg(raw: bytes) -> str | None:
  """Walks from marker to marker, as a decoder does."""
  at = scans = parts = 0
  while marker := _MARKER.search(raw, at):
    at, kind = marker.end(), marker[1]
    scans, parts = scans + (kind == _SOS), parts + 1
    if scans > SCANS:
      return f"more than {SCANS} scans"
    if parts > PARTS:
      return f"more than {PARTS} parts"
    if kind == _EOI and scans:  # what follows is no part of the image
      break
    if kind not in (_SOI, _TEM, _EOI):
      at += max(2, int.from_bytes(raw[at : at + 2], "big"))
  return None


def _png(file: BinaryIO) -> str | None:
  file.seek(len(_PNG))
  for _ in range(PARTS):
    head = file.read(8)
    if len(head) < 8 or head[4:] == b"IEND":
      return None
    file.seek(int.from_bytes(head[:4], "big") + 4, 1)  # and its checksum
  return f"more than {PARTS} parts"
