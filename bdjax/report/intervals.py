"""95 % intervals: of a share that was counted, and of a mean over seeds."""

import math
import statistics

from scipy import special


def wilson(share: float | None, count: int) -> tuple[float, float] | None:
  """Returns the Wilson 95 % interval of a share of what was counted.

  Args:
    share: fraction of successes, in [0, 1].
    count: of how many.

  Returns:
    The low and the high end, or None if the share is missing or nothing
    counted.
  """
  if share is None or not count:
    return None
  from scipy import stats  # takes a second, and few runs ask

  test = stats.binomtest(round(share * count), count)
  interval = test.proportion_ci(method="wilson")
  return float(interval.low), float(interval.high)


def student(
  values: list[float | None],
  limits: tuple[float, float] = (-math.inf, math.inf),
) -> tuple[float, float] | None:
  """Returns Student's 95 % interval of the mean of values, one per seed.

  Args:
    values: of each seed.
    limits: that no value can be beyond.

  Returns:
    The low and the high end, or None with one value, or if one is missing.
  """
  n = len(values)
  if n < 2 or any(value is None for value in values):
    return None
  mean, sd = statistics.fmean(values), statistics.stdev(values)
  half = float(special.stdtrit(n - 1, 0.975)) * sd / n**0.5
  return max(limits[0], mean - half), min(limits[1], mean + half)


def lead(first: dict[int, float], second: dict[int, float], unit: str) -> str:
  """Returns in words how far one is ahead of another in the seeds of both.

  Args:
    first: shares by seed.
    second: likewise.
    unit: what follows the number, such as "points of DER ahead of ft".

  Returns:
    The mean difference and its interval, in points, and whether that leaves
    them apart; or "" with less than two seeds in common.
  """
  gaps = [first[seed] - second[seed] for seed in first if seed in second]
  ends = student(gaps)
  if ends is None:
    return ""
  low, high = (100 * end for end in ends)
  gap = (
    f"{100 * statistics.fmean(gaps):.1f} [{low:.1f}, {high:.1f}] {unit}, over "
    f"{len(gaps)} seeds"
  )
  if high < 0:  # the order is of means over all seeds of each
    return f"Not sure, since in the seeds of both it is behind: {gap}"
  return gap if low > 0 else f"Not told apart: {gap}"
