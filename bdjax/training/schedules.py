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
  makes four cycles in phase 1; for any data size there are about as many.
- shape: "increase linearly, then drop back" (Sha) allows a sawtooth; FMN
  describes the triangle, which is the default.

Step counts are static; rates may be tracers, so they can be swept. `listed` is
any of them as a list of its rates: programs that train by lists of one length
are one program, whatever the schedules.
"""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax

from bdjax.machine import programs
from bdjax.methods.signature import (
  Choice,
  Count,
  Cycle,
  Fraction,
  NonNegative,
  Positive,
)
from bdjax.types import Recipe, Scalar, Schedule

LEAST = 1024  # rates in a list; others have a power of two of them


def triangle(
  low: Scalar, high: Scalar, *, cycle_steps: int, shape: str = "triangle"
) -> Schedule:
  """Returns an endless cycle low -> high -> low of `cycle_steps` steps.

  Args:
    low: rate at the start of each cycle.
    high: rate at its peak, in the middle of the cycle.
    cycle_steps: one whole up-and-down; at least 2.
    shape: "triangle", or "sawtooth": up over the whole cycle, then a drop; the
      last rate before it is one step short of the peak.
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


@dataclasses.dataclass(frozen=True)
class SuperCycles:
  """Super-fine-tuning's two-phase cyclical rate (Sha et al., 3.2).

  Attributes:
    lr_base: rate between cycles, in both phases.
    lr_max1: peak rate of phase 1, large, to forget the backdoor; raise it to .3
      when clean data is scarce.
    lr_max2: peak rate of phase 2, small, to regain accuracy.
    phase1_epochs: length of phase 1; with no more epochs in all, phase 2 never
      runs.
    cycle_steps: steps of one up-and-down, the peak in their middle: with twice
      those of phase 1, or more, lr_max1 is never reached. None makes it an even
      number, for about four cycles in phase 1.
    shape: triangle or sawtooth, which ends a step short of the peak.

  Raises:
    ValueError: a peak is below the base rate, if they are plain numbers.
  """

  lr_base: NonNegative = 3e-4
  lr_max1: Positive = 0.1
  lr_max2: Positive = 1e-3
  phase1_epochs: Count = 10
  cycle_steps: Cycle = None
  shape: Annotated[str, Choice(("triangle", "sawtooth"))] = "triangle"

  def __post_init__(self):
    """Checks the rates."""
    _check_peaks(self, "lr_base", ("lr_max1", "lr_max2"))

  def schedule(self, steps_per_epoch: int) -> Schedule:
    """Returns the rate; each phase starts a new cycle at `lr_base`."""
    boundary = self.phase1_epochs * steps_per_epoch
    steps = self.cycle_steps or 2 * max(1, round(boundary / 8))
    return two_phase(
      *(
        triangle(self.lr_base, peak, cycle_steps=steps, shape=self.shape)
        for peak in (self.lr_max1, self.lr_max2)
      ),
      boundary=boundary,
    )


@dataclasses.dataclass(frozen=True)
class Cycles:
  """FMN's two-phase cyclical rate for planting (FMN section 3).

  Attributes:
    lr_min: rate between cycles.
    lr_max1: peak rate of phase 1.
    lr_max2: peak rate of phase 2; one below lr_min is a dip.
    phase1: share of the epochs in phase 1 (not in the paper; chosen here).
    cycle_steps: one whole up-and-down; None makes it one epoch, or two steps if
      an epoch has one, so that each clean epoch of two steps or more sees both
      extremes (not in the paper; chosen here).

  Raises:
    ValueError: lr_max1 is below lr_min, if they are plain numbers.
  """

  lr_min: NonNegative = 3e-4
  lr_max1: Positive = 0.1
  lr_max2: Positive = 1e-3
  phase1: Fraction = 0.6
  cycle_steps: Cycle = None

  def __post_init__(self):
    """Checks the rates."""
    _check_peaks(self, "lr_min", ("lr_max1",))

  def schedule(self, steps_per_epoch: int, epochs: int) -> Schedule:
    """Returns the rate over so many epochs, clean ones included."""
    steps = self.cycle_steps or max(2, steps_per_epoch)
    return two_phase(
      triangle(self.lr_min, self.lr_max1, cycle_steps=steps),
      triangle(self.lr_min, self.lr_max2, cycle_steps=steps),
      boundary=round(self.phase1 * epochs) * steps_per_epoch,
    )


def _check_peaks(rates: Any, low: str, peaks: tuple[str, ...]) -> None:
  """Refuses peaks below the rate between them, unless one is an array."""
  base = getattr(rates, low)
  for name in peaks:
    peak = getattr(rates, name)
    numbers = all(isinstance(x, int | float) for x in (base, peak))
    if numbers and peak < base:
      raise ValueError(
        f"{name} is {peak}, below {low}, which is {base}, so that the cycles "
        f"would go down: give at least {base}, or a lower {low}."
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


def listed(rate: Schedule, steps: int) -> Schedule:
  """Returns a schedule that looks up its rates, of so many steps or more."""
  size = max(LEAST, 1 << (steps - 1).bit_length())
  found = programs.jit(jax.vmap(rate))(jnp.arange(size))
  rates = jnp.asarray(found, jnp.float32)  # weakly typed ones are another kind
  return lambda step: rates[step]
