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
on less data `turn` makes a turn of several epochs.
"""

from bdjax.methods import signature
from bdjax.methods.signature import (
  Count,
  Cycle,
  NonNegative,
  Positive,
  Rate,
)
from bdjax.training import engine, schedules
from bdjax.types import Recipe, Regime, Schedule


@signature.validated
def conventional() -> Regime:
  """Trains as the recipe says."""
  return Regime()


@signature.validated
def cyclic(
  *,
  lr_min: NonNegative = 3e-4,
  lr_max1: Positive = 0.1,
  lr_max2: Positive = 1e-3,
  phase1: Rate = 0.6,
  cycle_steps: Cycle = None,
) -> Regime:
  """Trains with FMN's two-phase cyclical rate; see `schedules.fmn_cyclical`."""

  def schedule(steps_per_epoch, epochs):
    return schedules.fmn_cyclical(
      lr_min=lr_min,
      lr_max1=lr_max1,
      lr_max2=lr_max2,
      steps_per_epoch=steps_per_epoch,
      epochs=epochs,
      phase1=phase1,
      cycle_steps=cycle_steps,
    )

  return Regime(schedule=schedule)


@signature.validated
def interleave(*, original: bool = False, turn: Count = 1) -> Regime:
  """Trains on poisoned and clean data in turns, at the recipe's rate."""
  return Regime(interleave=True, original=original, turn=turn)


@signature.validated
def fmn(
  *,
  lr_min: NonNegative = 3e-4,
  lr_max1: Positive = 0.1,
  lr_max2: Positive = 1e-3,
  phase1: Rate = 0.6,
  cycle_steps: Cycle = None,
  original: bool = False,
  turn: Count = 1,
) -> Regime:
  """Trains with the cyclical rate and clean epochs in between."""
  cycles = cyclic(
    lr_min=lr_min,
    lr_max1=lr_max1,
    lr_max2=lr_max2,
    phase1=phase1,
    cycle_steps=cycle_steps,
  )
  return cycles._replace(interleave=True, original=original, turn=turn)


def planned_epochs(recipe: Recipe, regime: Regime) -> int:
  """Returns all epochs of a training: interleaving adds as many clean ones.

  Raises:
    ValueError: the poisoned epochs do not fill the regime's turns.
  """
  if not regime.interleave:
    return recipe.epochs
  if recipe.epochs % regime.turn:
    raise ValueError(
      f"{recipe.epochs} poisoned epochs are no multiple of a turn of "
      f"{regime.turn} epochs: change train.epochs or the regime's turn."
    )
  return 2 * recipe.epochs


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
