"""What was measured of a group of cells: a mean over seeds, and how sure.

The interval is Student's 95 % interval of the mean over seeds. One seed has no
spread to take it from, and its test images do not stand in: models of two seeds
differ by far more than chance in scoring them. Its interval is all there may
be, so that one seed decides nothing.
"""

import math
import statistics
from typing import NamedTuple

from bdjax.report import intervals, judging, results
from bdjax.report.curves import timeline
from bdjax.report.load import Run
from bdjax.study.published import Cell

STUDENT, PAIRED, POINT = "t", "paired t", "none"
KEYS = {  # metric -> key of a record
  **{name: name for name in ("ca", "asr", "ta", "drop")},
  "gpu_hours": "device_hours",
  "index": "verdict",  # of a detector of models
  "detected": "tpr_at_10",  # by one of inputs, at 10 % false alarms
}
RATES = ("ca", "asr", "ta", "detected")  # between 0 and 1
COUNTED = ("gpu_hours", "index")  # as they are, not in percent


class Reading(NamedTuple):
  """A mean with its 95 % interval, in percent, in hours, or an index.

  Attributes:
    mean: over seeds.
    low: end of the interval, the least possible value with one seed.
    high: the other.
    seeds: their number.
    how: where the interval is from.
    values: by seed; empty where some seed has several.
    diverged: seeds that are not among them since their training diverged.
  """

  mean: float
  low: float
  high: float
  seeds: int
  how: str = STUDENT
  values: tuple[tuple[int, float], ...] = ()
  diverged: int = 0

  def less(self, other: "Reading") -> "Reading":
    """Returns the difference to another.

    Seeds that both have are compared one by one, since much of what a seed
    decides is the same for both. Without two of them, half widths add as
    squares.
    """
    mine, theirs = dict(self.values), dict(other.values)
    shared = [seed for seed in mine if seed in theirs]
    if len(shared) > 1:
      gaps = {seed: mine[seed] - theirs[seed] for seed in shared}
      return estimate(gaps)._replace(how=PAIRED)
    mean = self.mean - other.mean
    low = math.hypot(self.mean - self.low, other.high - other.mean)
    high = math.hypot(self.high - self.mean, other.mean - other.low)
    seeds = min(self.seeds, other.seeds)
    how = POINT if POINT in (self.how, other.how) else STUDENT
    return Reading(mean, mean - low, mean + high, seeds, how)


def read(records: list[results.Record], cell: Cell, run: Run) -> Reading | None:
  """Returns what records say of a printed cell.

  Args:
    records: of one group, a seed each; or of several, for costs.
    cell: which metric, at which epoch, of which model.
    run: holds the curves.

  Returns:
    None where a record lacks the value.
  """
  values = [_value(record, cell, run) for record in records]
  if not values or any(value is None for value in values):
    return None
  scale = 1 if cell.metric in COUNTED else 100
  scaled = [scale * value for value in values]
  limits = (0.0, 100.0) if cell.metric in RATES else (-math.inf, math.inf)
  seeds = [record["seed"] for record in records]
  if len(set(seeds)) == len(seeds):
    return estimate(dict(zip(seeds, scaled, strict=True)), limits)
  return estimate(dict(enumerate(scaled)), limits)._replace(values=())


def estimate(
  values: dict[int, float],
  limits: tuple[float, float] = (-math.inf, math.inf),
) -> Reading:
  """Returns the mean of values over seeds and its interval.

  Args:
    values: by seed.
    limits: that no value can be beyond.
  """
  mean, n = statistics.fmean(values.values()), len(values)
  ends = intervals.student(list(values.values()), limits)
  low, high = ends or limits
  return Reading(
    mean=mean,
    low=low,
    high=high,
    seeds=n,
    how=STUDENT if ends else POINT,
    values=tuple(values.items()),
  )


def key(cell: Cell, record: results.Record) -> str:
  """Returns where a record holds a cell's metric.

  A clean model's numbers lie beside those of the model that it is compared
  with.
  """
  name = KEYS[cell.metric]
  if name == "asr":
    name = judging.success(record)
  return f"clean_{name}" if cell.regime == "clean" else name


def forgets(
  record: results.Record, cell: Cell, run: Run, *, below: float
) -> float | None:
  """Returns the first epoch whose ASR is below a percentage.

  Epochs at which the model is destroyed do not count.

  Returns:
    Infinity if no probed epoch is; None if none was probed.
  """
  name = key(cell, record)
  rows = timeline(run.curves.get(record["cell"], []))
  probed = {e: row for e, row in rows.items() if e > 0 and name in row}
  if not probed:
    return None
  return next(
    (
      float(e)
      for e, row in sorted(probed.items())
      if 100 * row[name] < below
      and not judging.destroyed(record | {"ca": row.get("ca")})
    ),
    math.inf,
  )


def _value(record: results.Record, cell: Cell, run: Run) -> float | None:
  name = key(cell, record)
  if cell.epoch is None:
    return record.get(name)
  rows = timeline(run.curves.get(record["cell"], []))
  if cell.metric == "gpu_hours":
    return _hours(rows, cell.epoch, record["devices"])
  return rows.get(cell.epoch, {}).get(name)


def _hours(rows: dict[int, dict], epoch: int, devices: int) -> float | None:
  spent = [rows.get(e, {}).get("seconds_train") for e in range(1, epoch + 1)]
  return None if None in spent else sum(spent) * devices / 3600
