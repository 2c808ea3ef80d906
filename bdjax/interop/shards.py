"""Models in several files, with an index that says what is where.

The index is a JSON file whose `weight_map` holds a file's name for each tensor;
the files lie beside it.
"""

import io
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bdjax.interop.refusals import Refused, listed, shown
from bdjax.machine import storage

FILES = 1000
_INDEX = ".index.json"
_BYTES = 2**24  # of an index
_LONGEST = 255  # bytes of a file's name
_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
_SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}(\.\w+)")


def resolved(path: Path) -> Path:
  """Returns the file that a folder or a shard stands for, or the path itself.

  Raises:
    Refused: a folder holds no model or several, or a shard has no index.
  """
  if os.path.isdir(path):  # which a name that is too long is not
    names = [p for p in sorted(path.iterdir()) if not p.name.startswith(".")]
    models = [p for p in names if is_index(p)]
    models = models or [p for p in names if p.suffix in _SUFFIXES]
    if len(models) != 1:
      raise Refused(
        "is not a file, and a folder of "
        f"{listed([p.name for p in models]) or 'no models'}; give the path "
        "of one .pt or .safetensors."
      )
    return models[0]
  match = _SHARD.fullmatch(path.name)
  if match is None:
    return path
  index = path.with_name(f"{match[1]}{match[2]}{_INDEX}")
  if not index.is_file():
    raise Refused(
      f"is one of several files of a model, and {shown(index.name)}, which "
      "lists them, is not beside it; fetch all of them into one folder."
    )
  return index


def is_index(path: Path) -> bool:
  """Returns whether a path is named like an index."""
  return path.name.endswith(_INDEX)


def places(index: Path) -> dict[str, Path]:
  """Returns the file of every tensor that an index lists.

  Raises:
    Refused: it makes no sense, or names what does not lie beside it.
  """
  try:
    with io.TextIOWrapper(storage.regular(index), "utf-8") as file:
      content = json.loads(file.read(_BYTES))
  except OSError as fault:
    raise Refused(f"cannot be opened: {fault.strerror}.") from None
  except (ValueError, RecursionError):
    content = None
  weight_map = content.get("weight_map") if isinstance(content, dict) else None
  if not isinstance(weight_map, dict) or not weight_map:
    raise Refused(
      "is no index of a model's files, a JSON object with a weight_map; fetch "
      "it again."
    )
  for name in {str(name): None for name in weight_map.values()}:
    size = len(name.encode("utf-8", "surrogatepass"))
    if not 0 < size <= _LONGEST:
      raise Refused(
        f"lists a file whose name has {size} bytes, but one has 1 to "
        f"{_LONGEST}; do not trust it."
      )
    if Path(name).name != name or "\\" in name or is_index(Path(name)):
      raise Refused(
        f"lists the file {shown(name)}, which is not beside it; do not trust "
        "it."
      )
  files = {
    name: index.with_name(str(file)) for name, file in weight_map.items()
  }
  if len(set(files.values())) > FILES:
    raise Refused(f"lists more than {FILES} files; join some of them.")
  lost = [p.name for p in dict.fromkeys(files.values()) if not p.is_file()]
  if lost:
    raise Refused(
      f"lists {listed(lost)}, which is not beside it; fetch all files into "
      "one folder."
    )
  return files


def joined(
  places: Mapping[str, Path], contents: Mapping[Path, Any]
) -> dict[str, np.ndarray]:
  """Returns the tensors that an index lists.

  Args:
    places: the file of every tensor.
    contents: what each file holds.

  Raises:
    Refused: a file lacks one of them.
  """
  tensors = {}
  for name, file in places.items():
    held = contents[file]
    if not isinstance(held, dict) or not isinstance(held.get(name), np.ndarray):
      raise Refused(
        f"says that {shown(name)} is in {shown(file.name)}, which lacks it; "
        "fetch the files again."
      )
    tensors[name] = held[name]
  return tensors
