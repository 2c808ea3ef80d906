"""Refuses batches and sequela that a plan's data cannot fill or answer."""

from collections.abc import Sequence

from bdjax.methods import values
from bdjax.runs import plans
from bdjax.runs.methods import Method
from bdjax.training import engine


def sequela(plan: plans.Plan) -> None:
  """Refuses sequela that a plan cannot have.

  Raises:
    ValueError: one sentence that names the key, its value and the remedy.
  """
  if plan.sequela and plan.scenario.name != "standalone":
    raise ValueError(
      f"sequela.name is {plan.sequela[0].label!r}, but sequela are measured in "
      f"the scenario standalone alone, not in {plan.scenario.name}: leave them "
      "out."
    )
  if plan.sequela and plan.together:
    raise ValueError(
      f"sequela.name is {plan.sequela[0].label!r}, but sequela do not go with "
      "a sweep: leave them out, or sweep.axes and sweep.width."
    )
  size = plan.train.size
  for sequel in plan.sequela:
    if sequel.built.retrains:
      _poisons(sequel, plan.attacks)
      _room(sequel, size)
      images = round(sequel.args.get("rate", 1) * size)
      key, batch = sequel.source.key, sequel.args["batch_size"]
      if "rate" in sequel.args and images < batch <= size:
        raise ValueError(
          f"{key('rate')} is {sequel.args['rate']:g}, which of {size} images "
          f"leaves {images}, fewer than its batch_size {batch}: give at least "
          f"{values.rounded_up(batch / size):g}, or a smaller batch."
        )
      fits(batch, images, key("batch_size"), f"{sequel.label}: ")
    elif sequel.built.lures:
      _lures(plan, sequel)
      _room(sequel, size)
    else:
      whose = f"{sequel.label}'s shadow: "
      fits(plan.recipe.batch_size, size // 2, whose=whose)
      images, key = sequel.args["images"], sequel.source.key("batch_size")
      batch, whose = sequel.args["batch_size"], f"{sequel.label}: "
      fits(batch, min(images, size), key, whose)


def _room(sequel: Method, size: int) -> None:
  """Refuses a share of the training set that has no room for its poisons."""
  rate, poisons = (sequel.args.get(name) for name in ("rate", "poisons"))
  unused = None in (rate, poisons) or sequel.args.get("teacher") == "planted"
  if unused or round(rate * size) > poisons:
    return
  batch = sequel.args["batch_size"] if sequel.built.retrains else 0
  least = values.rounded_up(max(poisons + 1, min(batch, size)) / size)
  raise ValueError(
    f"{sequel.source.key('rate')} is {rate:g}, which of {size} images leaves "
    f"{round(rate * size)}, no more than its {poisons} poisons: give at least "
    f"{least:g}, or fewer poisons."
  )


def _poisons(sequel: Method, attacks: Sequence[Method]) -> None:
  if not any("rate" in attack.args for attack in attacks):
    raise ValueError(
      f"{sequel.label} trains poisons back in, but {attacks[0].label} has no "
      "poisoned training set: add an attack that has, or leave it out."
    )


def _lures(plan: plans.Plan, sequel: Method) -> None:
  label, needed = plan.train.label, sequel.built.lures
  for attack in plan.attacks:
    known = int((attack.built.target(label) != label).sum())
    if known < needed:
      raise ValueError(
        f"{sequel.label} needs {needed} training images of classes that "
        f"{attack.label} should change, but there are {known}: give it fewer "
        "images."
      )
  key, args = sequel.source.key("batch_size"), sequel.args
  fits(args["batch_size"], args["images"], key, f"{sequel.label}: ")


def fits(
  batch: int, size: int, key: str = "train.batch_size", whose: str = ""
) -> None:
  """Refuses a batch that does not fit its data.

  Args:
    batch: images of it.
    size: images of the data.
    key: what the batch is given by.
    whose: begins the sentence.

  Raises:
    ValueError: it is; names the key, and the largest batch that fits.
  """
  try:
    engine.steps_per_epoch(size, batch)
  except engine.TooFew:
    raise ValueError(
      f"{whose}{key} is {batch}, but the data has {size} examples: give at "
      f"most {size}, or more data."
    ) from None
