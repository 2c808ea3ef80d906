"""What a training takes under a regime: its epochs, its rate, its optimizer.

Two trainings can be equal in poisoned epochs (`train.match="epochs"`: all else
comes on top, so that FMN takes twice the steps of a conventional training) or
in all epochs, hence in steps (`"steps"`). A step of SAM is one step, although
it takes two gradients, and the pass that weighs EWC's parameters trains none.
"""

import optax

from bdjax.training import engine, optimizers, schedules
from bdjax.types import Recipe, Regime, Schedule

MATCHES = ("epochs", "steps")  # what the trainings of all regimes have equal


class Unfilled(ValueError):
  """Epochs do not fill a regime's turns.

  Attributes:
    epochs: how many there are.
    whole: how many these must be a multiple of.
    turns: what has so many, in words.
  """

  def __init__(self, epochs: int, whole: int, turns: str):
    """Says so, and the remedy."""
    super().__init__(
      f"{epochs} epochs are no multiple of {turns}: change train.epochs or the "
      "regime's turn."
    )
    self.epochs, self.whole, self.turns = epochs, whole, turns


def matched(regime: Regime, match: str) -> Regime:
  """Returns a regime whose trainings equal others in one of `MATCHES`."""
  more = regime.interleave or regime.planted or regime.second is not None
  return regime._replace(extra=match == "epochs") if more else regime


def apart(regime: Regime) -> bool:
  """Returns whether a regime trains a victim as no trigger's step could."""
  return regime.second is not None or regime.against is not None


def parts(recipe: Recipe, regime: Regime) -> tuple[int, Recipe, int]:
  """Returns how a regime shares a recipe's epochs between its stages.

  Args:
    recipe: of the whole training.
    regime: without `planted` or `second`, nothing comes before or after.

  Returns:
    The epochs that it begins with conventionally, its own recipe, and the
    epochs of its second stage.
  """
  epochs, after, before = recipe.epochs, 0, 0
  if regime.second is not None:
    after = max(1, round(regime.second.length * epochs))
  if regime.planted:
    before = epochs if regime.extra else epochs // 2
  if not regime.extra:
    recipe = recipe.replace(epochs=epochs - before - after)
  return before, recipe, after


def planned_epochs(recipe: Recipe, regime: Regime) -> int:
  """Returns a regime's own epochs, clean ones included.

  Args:
    recipe: its epochs are the poisoned ones, or all; see `Regime.extra`.

  Raises:
    Unfilled: the epochs do not fill the regime's turns.
  """
  if not regime.interleave:
    return recipe.epochs
  whole = regime.turn if regime.extra else 2 * regime.turn
  if recipe.epochs % whole:
    turns = "a turn" if regime.extra else "a poisoned and a clean turn"
    raise Unfilled(recipe.epochs, whole, f"{turns} of {whole} epochs")
  return 2 * recipe.epochs if regime.extra else recipe.epochs


def planned_rate(recipe: Recipe, regime: Regime, *, size: int) -> Schedule:
  """Returns the regime's learning rate for `size` examples, or the recipe's.

  Between rehearsals of a defense it does not fall: the last poisoned turn is as
  strong as the first.
  """
  steps = engine.steps_per_epoch(size, recipe.batch_size)
  epochs = planned_epochs(recipe, regime)
  if regime.schedule is not None:
    return regime.schedule(steps, epochs)
  name = recipe.schedule if regime.against is None else "constant"
  return schedules.by_name(name, recipe.lr, steps=steps * epochs)


def stepping(
  recipe: Recipe, regime: Regime, *, size: int
) -> tuple[optax.GradientTransformation, Schedule]:
  """Returns the victim's optimizer under a regime, and its rate.

  Args:
    recipe: of the regime's own epochs; see `parts`.
    size: examples of the training set.
  """
  lr = planned_rate(recipe, regime, size=size)
  decay = recipe.weight_decay
  tx = optimizers.sgd(lr, momentum=recipe.momentum, weight_decay=decay)
  if regime.wrap is not None:
    tx = regime.wrap(tx, engine.steps_per_epoch(size, recipe.batch_size))
  return tx, lr
