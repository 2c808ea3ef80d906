"""What asking a model after its defense will take; see `runs.sequels`."""

from collections.abc import Callable

from bdjax.runs import knowledge, plans, sequels, work
from bdjax.runs.sequel_cells import SequelCell
from bdjax.runs.work import Stage
from bdjax.sequela import Outcome, Remains
from bdjax.types import Backdoor, Dataset, Fit


def stages(
  plan: plans.Plan, question: SequelCell, backdoor: Backdoor
) -> list[Stage]:
  """Returns what a sequel trains, weights or perturbations.

  Args:
    plan: the run's.
    question: one whose sequel takes no shadow model.
    backdoor: shapes of the planted model that it is about.
  """
  return work.stages(_asking(plan, question), *_given(plan, backdoor))[1]


def beside(plan: plans.Plan, question: SequelCell, backdoor: Backdoor) -> float:
  """Returns the floating-point operations of a sequel outside of its stages.

  Arguments are those of `stages`.
  """
  return work.beside(_asking(plan, question), *_given(plan, backdoor))


def _given(
  plan: plans.Plan, backdoor: Backdoor
) -> tuple[Backdoor, Dataset, Dataset]:
  return backdoor, plan.train, plan.test


def _asking(plan: plans.Plan, question: SequelCell) -> Callable[..., Outcome]:
  attack = question.cell.attack.built

  def ask(
    fit: Fit, backdoor: Backdoor, clean: Dataset, test: Dataset
  ) -> Outcome:
    remains = Remains(
      backdoor.variables,
      clean,
      test,
      knowledge.tuned(plan, question.cell),
      poisoned=backdoor.train,
      role=backdoor.role,
      model=plan.model.built,
      view=knowledge.view(plan.info),
    )
    if question.sequel.built.lures:
      remains = remains.replace(
        hit=sequels.triggered(test, backdoor, attack),
        lure=sequels.triggered(clean, backdoor, attack),
        planted=backdoor.variables,
        unplanted=backdoor.variables,
      )
    return question.outcome(remains, fit)

  return ask
