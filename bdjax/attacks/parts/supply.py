"""Whether there are images to poison, asked before anything is trained."""

import jax

from bdjax.machine import programs
from bdjax.methods import values
from bdjax.types import Array, Dataset, Scalar, Target


def check_rate(rate: Scalar, size: int) -> None:
  """Refuses a rate that poisons no image, unless it is traced.

  Args:
    rate: share of the training set that is poisoned.
    size: images of the training set.

  Raises:
    ValueError: with a rate that would do.
  """
  if not programs.traced(rate) and round(float(rate) * size) == 0:
    raise ValueError(
      f"rate is {float(rate):g}, which poisons none of {size} images: give at "
      f"least {values.rounded_up(1 / size):g}."
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
  needed, supply = round(float(rate) * train.size), int(supply)
  if needed > supply:
    raise ValueError(
      f"rate is {float(rate):g}, which asks for {needed} images of the target "
      f"class, but the data has {supply}: a clean-label attack needs a rate of "
      f"at most {supply / train.size:.4g} here."
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
  if not programs.traced(rate) and 0 < float(rate) * free.size <= 0.5:
    raise ValueError(
      f"cover_rate is {float(rate):g}, which covers none of {free.size} "
      f"images: give at least {values.rounded_up(1 / free.size):g}, or 0 for "
      "none."
    )
  with jax.ensure_compile_time_eval():  # so that it is known when traced
    left = free.sum()
  if programs.traced(left, rate):
    return
  needed, left = round(float(rate) * free.size), int(left)
  if needed > left:
    raise ValueError(
      f"cover_rate is {float(rate):g}, which asks for {needed} images beside "
      f"the poisons and the target class, but {left} are left: give at most "
      f"{left / free.size:.4g} here."
    )
