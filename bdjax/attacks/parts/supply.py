"""Whether there are images to poison, asked before anything is trained."""

import decimal

import jax

from bdjax.attacks.parts import roles
from bdjax.machine import programs
from bdjax.methods import values
from bdjax.types import Array, Dataset, Regime, Scalar, Target


def check_rate(rate: Scalar, size: int) -> None:
  """Refuses a rate that poisons no image, unless it is traced.

  Args:
    rate: share of the training set that is poisoned.
    size: images of the training set.

  Raises:
    ValueError: with a rate that would do.
  """
  if not programs.traced(rate) and _asked(rate, size) == 0:
    raise ValueError(
      f"rate is {float(rate):g}, which poisons none of {size} images: give at "
      f"least {values.rounded_up(1 / size):g}."
    )


def check_clean(
  rate: Scalar, cover_rate: Scalar, size: int, regime: Regime
) -> None:
  """Refuses rates that leave a regime no clean image where it trains on such.

  Args:
    rate: share of the training set that is poisoned; traced ones pass.
    cover_rate: share of the training set that covers; likewise.
    size: images of the training set.
    regime: whose clean epochs, or second stage, leave poisons and covers out.

  Raises:
    ValueError: with a rate that would do.
  """
  alone = regime.interleave and not regime.original
  if programs.traced(rate, cover_rate):
    return
  if not alone and regime.second is None:
    return
  rest = size - _asked(cover_rate, size)
  if _asked(rate, size) >= rest:
    raise ValueError(
      f"rate is {float(rate):g}, which leaves none of {size} images clean, but "
      "the regime trains on such alone in between or at the end: give at most "
      f"{_rounded_down((rest - 1) / size):g}."
    )


def candidates(train: Dataset, target: Target, rate: Scalar) -> Array:
  """Returns which examples a clean-label attack may poison, [N] bool.

  Raises:
    ValueError: they are fewer than `rate` asks for (unless either is traced).
  """
  with jax.ensure_compile_time_eval():  # so that it is known when traced
    only = target(train.label) == train.label
    supply = only.sum()
  if programs.traced(only, rate):
    return only
  needed, supply = _asked(rate, train.size), int(supply)
  if needed > supply:
    raise ValueError(
      f"rate is {float(rate):g}, which asks for {needed} images of the target "
      f"class, but the data has {supply}: a clean-label attack needs a rate of "
      f"at most {_rounded_down(supply / train.size):g} here."
    )
  return only


def check_cover(rate: Scalar, free: Array) -> None:
  """Refuses a rate of covers that are none, or more than the data can give.

  Rates that are traced are not known, and a rate of 0 asks for none.

  Args:
    rate: share of the training set.
    free: [N] bool, the examples that may become covers.

  Raises:
    ValueError: with the nearest rate that would do.
  """
  if programs.traced(rate):
    return
  needed = _asked(rate, free.size)
  if needed == 0 and float(rate) > 0:
    raise ValueError(
      f"cover_rate is {float(rate):g}, which covers none of {free.size} "
      f"images: give at least {values.rounded_up(1 / free.size):g}, or 0 for "
      "none."
    )
  with jax.ensure_compile_time_eval():  # so that it is known when traced
    left = free.sum()
  if programs.traced(left):
    return
  if needed > left:
    raise ValueError(
      f"cover_rate is {float(rate):g}, which asks for {needed} images beside "
      f"the poisons and the target class, but {left} are left: give at most "
      f"{_rounded_down(int(left) / free.size):g} here."
    )


def _asked(rate: Scalar, size: int) -> int:
  """Returns how many examples `roles` draws for a rate that is not traced."""
  with jax.ensure_compile_time_eval():  # so that it is known when traced
    return int(roles.count(rate, size))


def _rounded_down(value: float) -> float:
  """Returns a number of four digits that is no larger, for a sentence."""
  digits = decimal.Context(prec=4, rounding=decimal.ROUND_FLOOR)
  return float(digits.create_decimal(repr(value)))
