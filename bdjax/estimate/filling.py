"""How many members a sweep trains for each that it keeps.

Devices that have no member of their own repeat another's, so that all run the
same program.
"""

import math

from bdjax.machine import mesh as meshes
from bdjax.runs import plans, settings, sweeps, widths
from bdjax.runs.cells import Names
from bdjax.training import sweep


def shares(plan: plans.Plan) -> dict[str, float]:
  """Returns by cell how many members are trained for one, at least 1."""
  width, devices = widths.chosen(plan), meshes.members(meshes.make())
  found: dict[str, float] = {}
  for part in settings.by_seed(plan):
    names = Names(part)
    planted = [cell for cell in names.cells() if cell.defense is None]
    defended = [cell for cell in names.cells() if cell.defense]
    for group in sweeps.planting(planted) + sweeps.defending(defended):
      count = len(group.cells)
      size = sweep.chunk_size(count, devices, width)
      share = math.ceil(count / size) * size / count
      found |= {names.id(cell): share for cell in group.cells}
  return found
