"""Which model is asked what: the cells of a plan's sequela.

Such a cell is a model and a sequel. The models are those of all cells, planted
or repaired, and beside each of them a clean one: the clean model of its seed,
after the same defense with the same clean subset. Defenses that need the
training set have none, since a clean model comes without a poisoned one. A
clean model is asked once per seed and defense if it alone is looked at, and
once per planted model if the poisons of that one are trained into it, or its
trigger is shown to it.
"""

from typing import NamedTuple

from bdjax.machine.keys import key_for
from bdjax.report.results import CLEAN_MODEL
from bdjax.runs import plans
from bdjax.runs.cells import Cell, Names
from bdjax.runs.methods import Method
from bdjax.sequela import Outcome, Remains
from bdjax.training.pace import Kind
from bdjax.types import Fit


class SequelCell(NamedTuple):
  """A model, and what is asked of it.

  Attributes:
    cell: whose model it is.
    sequel: what is asked.
    clean: whether the model is instead the clean one of the cell's seed, after
      the cell's defense if it has one.
  """

  cell: Cell
  sequel: Method
  clean: bool

  def __str__(self) -> str:
    """Returns the cell as the user reads it."""
    cell = self.cell
    if not self.clean:
      return f"{cell} · {self.sequel.label}"
    step = f" · {cell.defense.label}" if cell.defense else ""
    label = f"seed {cell.seed} · {CLEAN_MODEL}{step} · {self.sequel.label}"
    if not self.planted:
      return label
    return f"{cell.attack.label} · {cell.regime.label} · {label}"

  @property
  def kind(self) -> Kind:
    """Of the cells that take about as long."""
    return Kind(self.sequel.label)

  @property
  def retrains(self) -> bool:
    """Whether poisons are trained back into the model."""
    return self.sequel.built.retrains

  @property
  def planted(self) -> bool:
    """Whether a planted model has a part in it."""
    sequel = self.sequel.built
    return not self.clean or sequel.retrains or bool(sequel.lures)

  def outcome(self, remains: Remains, fit: Fit) -> Outcome:
    """Returns what the sequel finds out about what is left of the model."""
    key = key_for(self.cell.key, self.sequel.name)
    return self.sequel.built.examine(key, remains, fit)


def name(names: Names, question: SequelCell) -> str:
  """Returns the name of a sequel's cell."""
  cell, sequel = question.cell, question.sequel
  model = [names.id(cell)] if question.planted else []
  beside = names.baseline if cell.defense else names.unplanted
  clean = [beside(cell)] if question.clean else []
  return plans.digest(["sequel", model, clean, sequel.name, sequel.args])


def of(plan: plans.Plan, names: Names) -> dict[str, SequelCell]:
  """Returns the cells of a plan's sequela by name, clean models before others.

  An attack without a poison rate has no poisoned training set, so that nothing
  can be trained back in with it.
  """
  cells: dict[str, SequelCell] = {}
  for cell in names.cells():
    for sequel in plan.sequela:
      if sequel.built.retrains and "rate" not in cell.attack.args:
        continue
      alone = cell.defense is not None and cell.defense.built.needs_train
      for clean in (False,) if alone else (True, False):
        question = SequelCell(cell, sequel, clean)
        cells.setdefault(name(names, question), question)
  return cells
