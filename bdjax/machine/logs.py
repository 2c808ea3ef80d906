"""Logs: lines that are added and never changed, in a file or a bucket."""

import errno
import os
from datetime import UTC, datetime
from pathlib import Path

from bdjax.machine import storage
from bdjax.machine.faults import faults
from bdjax.machine.storage import Place


def append(log: Place, lines: bytes, *, key: str) -> None:
  """Adds lines to a log so that a kill leaves all of them or none.

  A local log is a file, and a line that a kill has torn is dropped. In a bucket
  it is a folder with an object for each call; names begin with the time, so
  that their order is that of writing.

  Args:
    log: NAME.jsonl, or in a bucket the folder NAME beside it. One process
      writes it.
    lines: each with its newline.
    key: whose lines they are, a part of the object's name.

  Raises:
    Fault: the file system took less than everything.
  """
  if not storage.remote(log):
    with faults(log, "write"):
      _append(log, lines)
  elif lines:
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    storage.write(_objects(log) / f"{now}-{key}{log.suffix}", lines)


def logged(log: Place) -> list[tuple[Place, bytes]]:
  """Returns the parts of a log in the order of writing; none if it is not.

  Both forms are read wherever they lie, so that a run may be copied between a
  bucket and a folder.
  """
  folder = _objects(log)
  parts = [log]
  parts += [folder / n for n in storage.names(folder) if n.endswith(log.suffix)]
  contents = storage.read_all(parts)
  pairs = zip(parts, contents, strict=True)
  return [(part, content) for part, content in pairs if content is not None]


def _objects(log: Place) -> Place:
  return log.with_suffix("")


def _append(log: Path, lines: bytes) -> None:
  flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
  descriptor = os.open(log, flags, 0o644)
  try:
    _drop_torn(descriptor)
    written = os.write(descriptor, lines)
    os.fsync(descriptor)
  finally:
    os.close(descriptor)
  if written != len(lines):  # the torn line is dropped by itself
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _drop_torn(descriptor: int) -> None:
  size = os.fstat(descriptor).st_size
  if not size or os.pread(descriptor, 1, size - 1) == b"\n":
    return
  os.ftruncate(descriptor, os.pread(descriptor, size, 0).rfind(b"\n") + 1)
