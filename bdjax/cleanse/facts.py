"""What must be known of a suspect besides its weights, and who says so.

The normalization and the size of the images come from (the first that says) a
layer of the model's own, a flag, the sidecar, which is a JSON file of the
model's name (`suspect.json` beside `suspect.pt`), the model's file, or the
dataset that is named; never from a guess. BackdoorBench's files name the
dataset, whose normalization is fixed; of a defense's, the attack's file does.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bdjax import data
from bdjax.cleanse.pictures import printable
from bdjax.interop import naming, tensors
from bdjax.methods import signature

Facts = dict[str, tuple[Any, str]]  # value and who says so, by name
OWN = "the model's own"  # layer says
_SIDECAR = 2**20  # bytes
# BackdoorBench's names of datasets that it normalizes as we do -> ours.
_BENCHMARK = {
  "cifar10": "cifar10",
  "cifar100": "cifar100",
  "gtsrb": "gtsrb",
  "celeba": "celeba8",
  "tiny": "tiny_imagenet",
}


def collected(
  path: Path, metadata: Mapping[str, Any], flags: Mapping[str, Any]
) -> dict[str, tuple[Any, str]]:
  """Returns what is said of a model besides its weights, and by whom.

  Args:
    path: the model's file, or the index of its files; a JSON file beside it
      may say more.
    metadata: what the file itself says.
    flags: what the user says, which wins.

  Raises:
    ValueError: the JSON file says something that is not understood.
  """
  known = {k: metadata[k] for k in tensors.FACTS if k in metadata}
  dataset = known.get("clean_data")
  attack, by = _attack(path) if dataset is None else ({}, "")
  sources = (
    (_normalization(attack.get("clean_data")), f"the dataset of {by}"),
    (attack, by),
    (_normalization(dataset), f"dataset {dataset}, which the file names"),
    (known, "the model's file"),
    (_sidecar(_beside(path)), "the sidecar"),
    ({k: v for k, v in flags.items() if v is not None}, "a flag"),
  )
  return {k: (v, by) for statement, by in sources for k, v in statement.items()}


def normalized(
  place: naming.Seen,
  arrays: Mapping[str, np.ndarray],
  known: Mapping[str, tuple[Any, str]],
) -> dict[str, tuple[Any, str]]:
  """Returns the normalization that a model does itself, if it does.

  No mean or deviation of pixels in [0, 1] is above 1: where one is, both are of
  pixels in 0 to 255, and a 255th of them is returned.

  Raises:
    ValueError: a flag says another.
  """
  levels = {}
  own = {k: arrays[name].ravel() for k, name in place.levels.items()}
  wide = any(abs(x) > 1 for numbers in own.values() for x in numbers)
  whole, said = (255, " / 255") if wide else (1, "")
  for what, name in place.levels.items():
    value = tuple(float(x) / whole for x in own[what])
    claim, by = known.get(what, (value, ""))
    claimed = np.broadcast_to(np.array(claim, float), len(value))
    if by == "a flag" and not np.allclose(claimed, value, atol=1e-3):
      raise ValueError(
        f"--{what} is {claim}, but the model normalizes images itself, by "
        f"{printable(name)}{said}, which is {value}; leave out --{what}."
      )
    levels[what] = value, f"{OWN} {printable(name)}{said}"
  return levels


def _normalization(dataset: str | None) -> dict[str, tuple[float, ...]]:
  if dataset not in _BENCHMARK:
    return {}
  info = data.info(_BENCHMARK[dataset])
  return {"mean": info.mean, "std": info.std}


def _attack(path: Path) -> tuple[dict[str, Any], str]:
  """Returns what BackdoorBench says of the suspect that a defense started from.

  Of a `defense_result.pt`, whose `attack_result.pt` lies beside it or, where
  the benchmark leaves it, two folders above.

  Raises:
    ValueError: that file is refused.
  """
  folders = path.absolute().parent, *path.absolute().parents[2:3]
  places = [folder / "attack_result.pt" for folder in folders]
  place = next(filter(Path.is_file, places), None)
  if path.name != "defense_result.pt" or place is None:
    return {}, ""
  return tensors.read(place).metadata, f"{printable(place.name)} of the attack"


def _beside(path: Path) -> Path:
  """Returns where a model's sidecar is; an index of shards is none."""
  return path.with_name(path.name.removesuffix(".index.json")).with_suffix(
    ".json"
  )


def _sidecar(path: Path) -> dict[str, Any]:
  if not path.is_file():
    return {}
  try:
    with open(path, encoding="utf-8") as file:
      statements = json.loads(file.read(_SIDECAR))
  except (OSError, ValueError, RecursionError):
    statements = None
  if not isinstance(statements, dict):
    raise ValueError(
      f"{printable(path)}, which lies beside the model, is no JSON object of "
      f"{', '.join(tensors.FACTS)}; mend it, or move it away."
    )
  statements = {
    k: tuple(v) if isinstance(v, list) else v for k, v in statements.items()
  }
  for name, value in statements.items():
    if name not in tensors.FACTS:
      near = signature.nearest(printable(name), tensors.FACTS)
      raise ValueError(
        f"{printable(path)} says {printable(name)}, which is unknown: {near}"
      )
    if not tensors.FACTS[name](value):
      raise ValueError(
        f"{printable(path)} says that {name} is {printable(value)[:80]}, which "
        "is not understood; mend it, or move it away."
      )
  return statements
