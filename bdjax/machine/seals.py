"""Checksums of a folder's files, so that damage is known before it is read.

A seal is written when a folder is whole. What came before seals, or was killed
before it had one, has none and is trusted. Buckets check their objects by
themselves.
"""

import hashlib
import json
from pathlib import Path

from bdjax.machine import storage

_SEAL = "checksums.json"


def seal(folder: Path) -> None:
  """Writes the checksums of all that a folder holds."""
  sums = {
    path.relative_to(folder).as_posix(): _sum(path)
    for path in sorted(folder.rglob("*"))
    if path.is_file()
  }
  storage.write(folder / _SEAL, json.dumps(sums, indent=0))


def damage(folder: Path) -> str | None:
  """Returns in words what a folder has lost since it was sealed, or None."""
  content = storage.read(folder / _SEAL)
  if content is None:
    return None
  try:
    sums = json.loads(content)
  except (ValueError, RecursionError):
    sums = None
  if not isinstance(sums, dict):
    return f"its {_SEAL} cannot be read"
  for name, wanted in sums.items():
    if not (folder / name).is_file():
      return f"its {name} is missing"
    if _sum(folder / name) != wanted:
      return f"its {name} is not what was written"
  return None


def _sum(path: Path) -> str:
  with path.open("rb") as file:
    return hashlib.file_digest(file, "blake2b").hexdigest()[:32]
