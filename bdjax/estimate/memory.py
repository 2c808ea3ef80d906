"""What a plan needs of a device's memory."""

from collections.abc import Sequence

import jax

from bdjax.runs import plans, widths
from bdjax.runs.speed import Speed
from bdjax.runs.work import Stage


def needed(
  plan: plans.Plan,
  stages: Sequence[Stage],
  speeds: dict[int, Speed],
  width: int | None = None,
) -> dict[str, float]:
  """Returns the bytes that a device needs, by what needs them.

  Images: all parties' data, and the training set once more, as it was planted;
  in a sweep for each member that a device trains at once, and for one more.
  Beside them: twice the largest state that is trained (an epoch keeps what it
  was given until it is done), and what a step of plain training needs.

  Args:
    speeds: by batch size.
    width: members of a sweep at once, whose program was compiled, and its
      images counted with `speeds`; None for what this machine does best.
  """
  held = {id(x): x for d in (plan, plan.user) for x in (d.train, d.test)}
  together = (width or widths.chosen(plan)) if plan.together else 1
  poisoned = together + 1 if plan.together and width is None else 1
  every = (*held.values(), *[plan.train] * poisoned)
  state = max((s.state_bytes for s in stages), default=0)
  return {
    "images": sum(x.nbytes for x in jax.tree.leaves(every)),
    "weights": 2 * together * state,
    "activations": max((s.temp_bytes for s in speeds.values()), default=0),
  }
