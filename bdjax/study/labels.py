"""What a record tells of its methods: by labels, and by what was counted."""

import inspect
from typing import Any

from bdjax.methods import registry, specs
from bdjax.report import results


def settings(defense: specs.Spec, record: results.Record) -> dict[str, Any]:
  """Returns all arguments of a defense that a record's label names.

  Args:
    defense: as the label has it.
    record: tells the defender's share where the label does not.
  """
  make = registry.get("defenses", defense.name)
  known = {k: p.default for k, p in inspect.signature(make).parameters.items()}
  known["clean_rate"] = record.get("config.defense.clean_rate")
  presets = registry.presets("defenses", defense.name)
  return known | presets.get(defense.preset, {}) | defense.args | held(record)


def held(record: results.Record) -> dict[str, float]:
  """Returns the defender's share of the training set as it was, if known.

  A key of the command line wins over a preset, and no label says so.
  """
  clean, whole = record.get("clean_images"), record.get("train_images")
  if record["scenario"] != "standalone" or not clean or not whole:
    return {}
  return {"clean_rate": round(clean / whole, 3)}


def partial(defense: specs.Spec, record: results.Record) -> bool:
  """Returns whether a defender has less than all clean images."""
  share = settings(defense, record).get("clean_rate")
  return share is not None and share < 1


def spec(label: str) -> specs.Spec | None:
  """Returns a record's label read as a method, or None if it is none."""
  try:
    return specs.parse(label)[0]
  except ValueError:
    return None
