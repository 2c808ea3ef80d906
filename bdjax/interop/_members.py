"""Reads the members of an uncompressed zip file, each when it is asked for.

The standard library's reader lists all members first, however many there are,
and decompresses without an end. This one refuses what torch.save never writes:
compression, encryption, members that together are larger than the file, names
that lead out of a folder.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from bdjax.interop.refusals import Refused, shown

MEMBERS = 20_000
DIRECTORY = 8 * 2**20  # bytes of the list of members

_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_ENTRY = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_FULL = 0xFFFFFFFF  # the number is in a zip64 field instead

BROKEN = "is cut off or damaged: {}; fetch or save it again."
_LIST = "the list of its members"
_TOO_MANY = (
  f"lists more than {MEMBERS} members, or takes more than {DIRECTORY} bytes to "
  "list them; save the weights alone."
)
STRANGE = "was not written by torch.save: {}; unpack it, and save it again."


class _Entry(NamedTuple):
  checksum: int
  size: int
  start: int  # of the header before the contents


class Members:
  """The members of a zip file by name."""

  def __init__(self, file: BinaryIO):
    """Reads the list of members.

    Raises:
      Refused: the list is damaged, or of a kind that torch.save never writes.
    """
    self._file = file
    self.file_size = file.seek(0, 2)
    self._entries: dict[str, _Entry] = {}
    for name, entry in _entries(self._directory()):
      if name in self._entries:
        raise Refused(STRANGE.format(f"member {shown(name)} occurs twice"))
      if len(self._entries) == MEMBERS:
        raise Refused(_TOO_MANY)
      self._entries[name] = entry
    if sum(e.size for e in self._entries.values()) > self.file_size:
      raise Refused(
        BROKEN.format("its members together are larger than the file")
      )

  def __contains__(self, name: str) -> bool:
    """Returns whether there is such a member."""
    return name in self._entries

  def __iter__(self) -> Iterator[str]:
    """Iterates over the names."""
    return iter(self._entries)

  def size(self, name: str) -> int:
    """Returns a member's size in bytes."""
    return self._entries[name].size

  def read(self, name: str) -> bytes:
    """Returns a member's contents, found to match its checksum."""
    entry = self._entries[name]
    header = _LOCAL.unpack(self._bytes(entry.start, _LOCAL.size, name))
    start = entry.start + _LOCAL.size + header[-2] + header[-1]
    content = self._bytes(start, entry.size, name)
    if header[0] != b"PK\3\4" or zlib.crc32(content) != entry.checksum:
      raise Refused(
        BROKEN.format(f"member {shown(name)} does not match its checksum")
      )
    return content

  def _bytes(self, start: int, count: int, what: str) -> bytes:
    if start + count > self.file_size:
      raise Refused(BROKEN.format(f"{shown(what)} lies beyond its end"))
    self._file.seek(start)
    return self._file.read(count)

  def _directory(self) -> bytes:
    tail_size = min(self.file_size, _END.size + 2**16)
    tail = self._bytes(self.file_size - tail_size, tail_size, "its end")
    offset = tail.rfind(b"PK\5\6")
    if offset < 0 or len(tail) < offset + _END.size:
      raise Refused(BROKEN.format("the list of its members is missing"))
    size, start = _END.unpack_from(tail, offset)[5:7]
    before = tail[max(0, offset - _LOCATOR.size) : offset]
    if before.startswith(b"PK\6\7") and len(before) == _LOCATOR.size:
      end = self._bytes(_LOCATOR.unpack(before)[2], _END64.size, _LIST)
      size, start = _END64.unpack(end)[8:10]
    if size > DIRECTORY:
      raise Refused(_TOO_MANY)
    return self._bytes(start, size, _LIST)


def _entries(directory: bytes) -> Iterator[tuple[str, _Entry]]:
  offset = 0
  while offset < len(directory):
    if len(directory) < offset + _ENTRY.size:
      raise Refused(BROKEN.format(f"{_LIST} ends early"))
    fields = _ENTRY.unpack_from(directory, offset)
    name_end = offset + _ENTRY.size + fields[10]
    extra_end = name_end + fields[11]
    if fields[0] != b"PK\1\2" or extra_end + fields[12] > len(directory):
      raise Refused(BROKEN.format(f"{_LIST} is garbled"))
    name = _name(directory[offset + _ENTRY.size : name_end])
    extra = directory[name_end:extra_end]
    offset = extra_end + fields[12]
    _check_plain(name, flags=fields[3], method=fields[4])
    size, packed, start = _wide((fields[9], fields[8], fields[16]), extra)
    if packed != size:
      raise Refused(BROKEN.format(f"member {shown(name)} has a wrong size"))
    yield name, _Entry(fields[7], size, start)


def _name(raw: bytes) -> str:
  try:
    name = raw.decode("utf-8")
  except UnicodeDecodeError:
    raise Refused(BROKEN.format("a member's name is no text")) from None
  if not name:
    raise Refused(BROKEN.format("a member has no name"))
  parts = name.replace("\\", "/").split("/")
  if not parts[0] or ".." in parts or name[1:2] == ":":
    raise Refused(
      f"has a member named {shown(name)}, which would lie outside the folder "
      "it is unpacked in; do not unpack it, and do not trust it."
    )
  return name


def _check_plain(name: str, *, flags: int, method: int) -> None:
  if flags & 1:
    raise Refused(STRANGE.format(f"member {shown(name)} is encrypted"))
  if method:
    raise Refused(STRANGE.format(f"member {shown(name)} is compressed"))


def _wide(numbers: tuple[int, ...], extra: bytes) -> list[int]:
  """Returns the numbers, those that are _FULL from the zip64 field."""
  wide = b""
  while len(extra) >= 4:
    kind, length = struct.unpack_from("<2H", extra)
    if kind == 1:
      wide = extra[4 : 4 + length]
    extra = extra[4 + length :]
  sizes = []
  for number in numbers:
    if number == _FULL and len(wide) >= 8:
      number, wide = struct.unpack_from("<Q", wide)[0], wide[8:]
    sizes.append(number)
  return sizes
