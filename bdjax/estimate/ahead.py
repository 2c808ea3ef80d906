"""What a plan will take on devices that are not here, by compiling for them.

Plain training of the plan's model is compiled for the target, with all of the
plan's images, as the run would train there: devices share batches, or each has
its own members of a sweep. The compiler says what memory that takes; seconds
are XLA's own estimate for a TPU, and for a GPU what its data sheet allows at
best.
"""

from bdjax.aot import command, targets
from bdjax.aot.cases import Case
from bdjax.aot.shapes import Images
from bdjax.aot.targets import Target
from bdjax.runs import plans
from bdjax.runs.speed import Speed

_MIB = 2**20


def speed(plan: plans.Plan, batch_size: int, target: Target) -> Speed:
  """Returns how fast a target would train a plan's model, uncertain as it is.

  Raises:
    ValueError: it does not compile there, or does not fit.
  """
  case = _case(plan, batch_size)
  row = next(command.compile_case(target, case))
  if not row["compiles"]:
    raise ValueError(
      f"training {plan.model.label} in batches of {batch_size} does not "
      f"compile for {target.name}: {row['why']}"
    )
  seconds = row.get("estimate_seconds") or row["roofline_seconds"]
  mebibytes = row["temp_mib"] + row["output_mib"] - row["alias_mib"]
  return Speed(
    row["flop"] * row["devices"] / seconds,
    row["compile_seconds"],
    round(mebibytes * _MIB),
  )


def width(plan: plans.Plan) -> int:
  """Returns the members at once: the plan's own, since none can be measured."""
  return plan.config["sweep"]["width"] or 1


def _case(plan: plans.Plan, batch_size: int) -> Case:
  options = {
    "model": plan.model.name,
    "args": plan.model.args,
    "batch": batch_size,
    "precision": plan.precision,
    "images": Images(plan.train.size, plan.info.shape, plan.classes),
  }
  if plan.together:
    more = {"attack": "badnets", "width": width(plan)}
    return Case("sweep", "plant", options | more)
  return Case("train", "train", options | {"share": True})


def basis(target: Target) -> str:
  """Returns where a target's seconds come from, as a clause."""
  if target.gpu:
    return f"on {target.name} at the very least, by its data sheet"
  return (
    f"on {target.name}, by an estimate of XLA's that leaves out what devices "
    "tell each other"
  )


def verdict(total: float, target: Target) -> str:
  """Returns whether bytes fit a device of a target, as a sentence."""
  memory = target.chip.memory / _MIB
  fits = "fits" if total <= target.chip.memory else "does not fit"
  return (
    f"the run {fits} a device of {target.name}, which has {memory:,.0f} MiB"
  )


def parse(text: str) -> Target:
  """Returns the target of a text, if its compiler is installed.

  Raises:
    ValueError: it is no target, or the compiler is missing.
  """
  target = targets.parse(text)
  targets.require(target)
  return target
