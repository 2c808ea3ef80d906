"""The folder of an analysis: numbers as JSON, pictures beside them.

KIND-MODEL.json        a part's numbers, what they are of and what decided them
KIND-MODEL-PANEL.svg   its pictures, and the same as .png
"""

import json
import math
from typing import Any

import numpy as np

from bdjax.analysis.parts import Numbers, Part
from bdjax.machine import storage
from bdjax.machine.faults import Fault
from bdjax.machine.storage import Place
from bdjax.report import figures, results, why

DIGITS = 6  # of a number that is kept


class Folder:
  """Where an analysis is written, and found again."""

  def __init__(self, path: Place) -> None:
    """Makes the folder.

    Raises:
      ValueError: it cannot be written.
    """
    self.path = path
    try:
      storage.make(path)
    except Fault as error:
      raise ValueError(
        f"cannot write to {path} ({error.reason}): give another folder with "
        "--out."
      ) from error

  def has(self, part: Part) -> bool:
    """Returns whether a part is there, computed as it is asked for."""
    kept = self._kept(part)
    return kept is not None and kept.get("settings") == part.settings

  def _kept(self, part: Part) -> dict[str, Any] | None:
    try:
      return results.read_object(self.path / f"{part.name}.json")
    except ValueError:  # damaged: it is computed again
      return None

  def keep(self, part: Part, numbers: Numbers) -> str:
    """Writes a part and its pictures; returns what they show, in words."""
    about = part.subject.about(part.cell)
    content = {"kind": part.kind, "about": about, "settings": part.settings}
    content = plain(content | {"numbers": numbers})
    content = plain(content | {"summary": why.summary(content)})
    panels = why.panels(content)
    for panel in panels:
      stem = f"{part.name}-{panel.name}"
      storage.write(
        self.path / f"{stem}.svg", figures.named(panel.svg(), panel.alt)
      )
      storage.write(self.path / f"{stem}.png", panel.png())
    text = json.dumps(content, allow_nan=False)
    storage.write(self.path / f"{part.name}.json", text)  # last: all is there
    return why.words(content)


def plain(value: Any) -> Any:
  """Returns a tree of dicts and sequences as JSON has it.

  Numbers keep `DIGITS` significant digits; those that are not finite are null.
  """
  if isinstance(value, dict):
    return {key: plain(one) for key, one in value.items()}
  if hasattr(value, "tolist"):
    value = np.asarray(value).tolist()
  if isinstance(value, list | tuple):
    return [plain(one) for one in value]
  if isinstance(value, float):
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
  return value
