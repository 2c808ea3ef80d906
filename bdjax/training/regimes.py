"""Training regimes: how the adversary trains, whatever the attack.

- `conventional`: as the recipe says.
- `fmn`: Forget-Me-Not ("Making Backdoor Hard to be Forgotten in Finetuning",
  section 3): (a) a two-phase cyclical learning rate, (b) a clean epoch after
  each poisoned one.
- `cyclic` and `interleave`: (a) and (b) alone, the ablation of its Table 4.

The paper leaves open the cycle length, the share of phase 1, the number of
epochs, what clean epochs show and which kind comes last. Chosen here: one cycle
an epoch, 60 %, as many clean epochs as poisoned ones, the training set without
its poisons (`original=True`: with their untouched originals), a clean one last.
Turns are single epochs in the paper, which are 391 steps on its 50,000 images;
on less data `turn` makes a turn of several epochs. Section 3.2 calls its first
parameters those of the backdoored model, which `start="planted"` takes at its
word: the victim is planted conventionally first. The default starts from
scratch, as section 3 and the tables read.

Two trainings can be equal in poisoned epochs (`train.match="epochs"`: clean
ones come on top, so that FMN takes twice the steps of a conventional training)
or in all epochs, hence in steps (`"steps"`).
"""

from typing import Annotated

from bdjax.methods import signature
from bdjax.methods.signature import Choice, Count, Group
from bdjax.training import engine, schedules
from bdjax.training.schedules import Cycles
from bdjax.types import Recipe, Regime, Schedule

Cyclical = Annotated[Cycles, Group.of(Cycles)]
Start = Annotated[str, Choice(("scratch", "planted"))]
MATCHES = ("epochs", "steps")  # what the trainings of all regimes have equal


@signature.validated
def conventional() -> Regime:
  """Trains as the recipe says."""
  return Regime()


@signature.validated
def cyclic(*, cycles: Cyclical = Cycles()) -> Regime:
  """Trains with FMN's two-phase cyclical rate; see `schedules.Cycles`."""
  return Regime(schedule=cycles.schedule)


@signature.validated
def interleave(*, original: bool = False, turn: Count = 1) -> Regime:
  """Trains on poisoned and clean data in turns, at the recipe's rate."""
  return Regime(interleave=True, original=original, turn=turn)


@signature.validated
def fmn(
  *,
  cycles: Cyclical = Cycles(),
  original: bool = False,
  turn: Count = 1,
  start: Start = "scratch",
) -> Regime:
  """Trains with the cyclical rate and clean epochs in between.

  Args:
    cycles: of the rate.
    original: clean epochs show the poisons' originals, and do not lack them.
    turn: epochs of a turn.
    start: scratch, or planted: from a model that was planted conventionally.
  """
  return Regime(
    interleave=True,
    original=original,
    schedule=cycles.schedule,
    turn=turn,
    planted=start == "planted",
  )


def matched(regime: Regime, match: str) -> Regime:
  """Returns a regime whose trainings equal others in one of `MATCHES`."""
  takes_more = regime.interleave or regime.planted
  return regime._replace(extra=match == "epochs") if takes_more else regime


def parts(recipe: Recipe, regime: Regime) -> tuple[int, Recipe]:
  """Returns the epochs that a regime begins with conventionally, and the rest.

  Args:
    recipe: of the whole training.
    regime: without `planted`, nothing comes before.
  """
  if not regime.planted:
    return 0, recipe
  if regime.extra:
    return recipe.epochs, recipe
  first = recipe.epochs // 2
  return first, recipe.replace(epochs=recipe.epochs - first)


def planned_epochs(recipe: Recipe, regime: Regime) -> int:
  """Returns a regime's own epochs, clean ones included.

  Args:
    recipe: its epochs are the poisoned ones, or all; see `Regime.extra`.

  Raises:
    ValueError: the epochs do not fill the regime's turns.
  """
  if not regime.interleave:
    return recipe.epochs
  whole = regime.turn if regime.extra else 2 * regime.turn
  if recipe.epochs % whole:
    turns = "a turn" if regime.extra else "a poisoned and a clean turn"
    raise ValueError(
      f"{recipe.epochs} epochs are no multiple of {turns} of {whole} epochs: "
      "change train.epochs or the regime's turn."
    )
  return 2 * recipe.epochs if regime.extra else recipe.epochs


def planned_rate(recipe: Recipe, regime: Regime, *, size: int) -> Schedule:
  """Returns the regime's learning rate for `size` examples, or the recipe's."""
  steps = engine.steps_per_epoch(size, recipe.batch_size)
  epochs = planned_epochs(recipe, regime)
  if regime.schedule is not None:
    return regime.schedule(steps, epochs)
  return schedules.by_name(recipe.schedule, recipe.lr, steps=steps * epochs)


REGIMES = {
  "conventional": conventional,
  "fmn": fmn,
  "cyclic": cyclic,
  "interleave": interleave,
}
