"""Learning-rate schedules: pure functions of the step, with traceable numbers.

Sources: super-fine-tuning (Sha et al., arXiv 2212.09067, section 3 and
supplement A.2) and Forget-Me-Not (FMN, "Forget-Me-Not: Making Backdoor Hard to
be Forgotten in Finetuning"). The papers contradict each other, or say
nothing, on several constants; each is an argument here:

- base rate: .001 (Sha, main text) or 3e-4 (Sha A.2; FMN). Default 3e-4.
- second maximum: .01 (Sha, main text), .005 and .001 (both in Sha A.2).
  Default .001, which FMN uses too.
- first maximum: .1; Sha raises it to .3 for 10 % of the data.
- first phase: ten epochs (Sha); FMN as an attack says nothing: 60 % here.
- cycle: "several iterations", "500 iterations" (Sha), n up and n down (FMN).
  Read as one whole cycle of about 500 steps at Sha's full-data setting, which
  makes four cycles in phase 1; that number is kept for any data size.
- shape: "increase linearly, then drop back" (Sha) allows a sawtooth; FMN
  describes the triangle, which is the default.

Step counts are static; rates may be tracers, so they can be swept.
"""

from collections.abc import Callable

import optax

from bdjax.types import Recipe, Scalar, Schedule


def triangle(
  low: Scalar, high: Scalar, *, cycle_steps: int, shape: str = "triangle"
) -> Schedule:
  """Returns an endless cycle low -> high -> low of `cycle_steps` steps.

  Args:
    low: rate at the start of each cycle.
    high: rate at its peak.
    cycle_steps: one whole up-and-down; at least 2.
    shape: "triangle", or "sawtooth": up over the whole cycle, then a drop.
  """
  if cycle_steps < 2:
    raise ValueError(
      f"cycle_steps is {cycle_steps}, but a cycle goes up and down: give at "
      "least 2, or None for the default."
    )
  if shape not in ("triangle", "sawtooth"):
    raise ValueError(f"shape is {shape!r}, but must be triangle or sawtooth.")
  up = cycle_steps // 2 if shape == "triangle" else cycle_steps
  rise = optax.linear_schedule(low, high, up)
  fall = optax.linear_schedule(high, low, cycle_steps - up or 1)
  wave = optax.join_schedules([rise, fall], [up])
  return lambda step: wave(step % cycle_steps)


def two_phase(first: Schedule, second: Schedule, *, boundary: int) -> Schedule:
  """Returns `first` until step `boundary`, then `second` from its start."""
  return optax.join_schedules([first, second], [boundary])


def super_finetune(
  *,
  lr_base: Scalar = 3e-4,
  lr_max1: Scalar = 0.1,
  lr_max2: Scalar = 1e-3,
  steps_per_epoch: int,
  phase1_epochs: int = 10,
  cycle_steps: int | None = None,
  shape: str = "triangle",
) -> Schedule:
  """Returns super-fine-tuning's two-phase cyclical rate (Sha et al., 3.2).

  Args:
    lr_base: rate between cycles, in both phases.
    lr_max1: peak rate of phase 1, large, to forget the backdoor.
    lr_max2: peak rate of phase 2, small, to regain accuracy.
    steps_per_epoch: steps in one epoch of fine-tuning.
    phase1_epochs: length of phase 1.
    cycle_steps: one whole up-and-down; None keeps four cycles in phase 1.
    shape: "triangle" or "sawtooth".

  Returns:
    A schedule; each phase starts a new cycle at `lr_base`.
  """
  boundary = phase1_epochs * steps_per_epoch
  if cycle_steps is None:
    cycle_steps = 2 * max(1, round(boundary / 8))
  return two_phase(
    triangle(lr_base, lr_max1, cycle_steps=cycle_steps, shape=shape),
    triangle(lr_base, lr_max2, cycle_steps=cycle_steps, shape=shape),
    boundary=boundary,
  )


def fmn_cyclical(
  *,
  lr_min: Scalar = 3e-4,
  lr_max1: Scalar = 0.1,
  lr_max2: Scalar = 1e-3,
  steps_per_epoch: int,
  epochs: int,
  phase1: float = 0.6,
  cycle_steps: int | None = None,
) -> Schedule:
  """Returns FMN's two-phase cyclical rate for planting (FMN section 3).

  Args:
    lr_min: rate between cycles.
    lr_max1: peak rate of phase 1.
    lr_max2: peak rate of phase 2.
    steps_per_epoch: steps in one epoch.
    epochs: all epochs of the training, clean ones included.
    phase1: share of the epochs in phase 1 (not in the paper; chosen here).
    cycle_steps: one whole up-and-down; None makes it one epoch, so that each
      clean epoch sees both extremes (not in the paper; chosen here).
  """
  cycle_steps = cycle_steps or max(2, steps_per_epoch)
  return two_phase(
    triangle(lr_min, lr_max1, cycle_steps=cycle_steps),
    triangle(lr_min, lr_max2, cycle_steps=cycle_steps),
    boundary=round(phase1 * epochs) * steps_per_epoch,
  )


def by_name(name: str, lr: Scalar, *, steps: int) -> Schedule:
  """Returns "constant" or "cosine" (to zero over `steps`) from peak `lr`.

  The cosine moves with every step and ends with the training; the field's
  benchmark moves it once an epoch with a period fixed at 100 epochs.
  """
  if name == "constant":
    return optax.constant_schedule(lr)
  if name == "cosine":
    return optax.cosine_decay_schedule(lr, steps)
  raise ValueError(f"schedule is {name!r}, but must be constant or cosine.")


def over(recipe: Recipe) -> Callable[[int], Schedule]:
  """Returns (steps per epoch) -> the recipe's schedule over all its epochs."""
  name, lr, epochs = recipe.schedule, recipe.lr, recipe.epochs
  return lambda steps: by_name(name, lr, steps=max(1, steps * epochs))
