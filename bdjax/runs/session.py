"""What the steps of a run share: its plan, its folder, and what is at hand."""

from typing import Any

from jax.sharding import Mesh

from bdjax.runs import plans
from bdjax.runs.cells import Names
from bdjax.runs.scoring import Scorer
from bdjax.runs.workdir import Workdir
from bdjax.training import loop
from bdjax.training.progress import Display
from bdjax.types import Backdoor, Fit, Metrics, Params, State


class Session:
  """One run of a plan in a folder.

  Attributes:
    plan: what there is to run.
    workdir: where results go.
    mesh: devices that share the batches of a cell; None uses one.
    names: of the plan's cells and models.
    scorer: scores on the plan's test sets.
    display: shows what is under way.
    planted: the latest planted model and its name, for its many defenses.
    lessons: what sequela have learned from shadow models, by name.
    shapes: of models that were made or read, by name: to find them takes a
      trace of the whole training.
  """

  def __init__(
    self,
    plan: plans.Plan,
    workdir: Workdir,
    names: Names,
    display: Display,
    *,
    mesh: Mesh | None = None,
  ) -> None:
    """Takes what there is; of it, only the test sets go to the devices."""
    self.plan, self.workdir, self.mesh = plan, workdir, mesh
    self.names, self.display = names, display
    self.scorer = Scorer(plan, mesh=mesh)
    self.planted: tuple[str, Backdoor] | None = None
    self.lessons: dict[str, Params] = {}
    self.shapes: dict[str, Any] = {}

  def fit(self, name: str, **more: Any) -> Fit:
    """Returns a fit whose stages are shown, saved and continued under a name.

    Args:
      **more: arguments of `loop.host_fit`.
    """
    return once(
      loop.host_fit(
        store=self.workdir.stages(name),
        progress=self.display.stage,
        mesh=self.mesh,
        unseen=self.workdir.unseen,
        **more,
      )
    )


def once(fit: Fit) -> Fit:
  """Returns a fit that refuses a second stage of a name.

  A store would take it for the first one, which is finished.
  """
  begun = set()

  def run(*args: Any, name: str = "train", **how: Any) -> tuple[State, Metrics]:
    if name in begun:
      raise ValueError(
        f"two stages are named {name!r}, and a run saves and resumes them by "
        f"their names: give each its own, such as '{name}2'."
      )
    begun.add(name)
    return fit(*args, name=name, **how)

  return run
