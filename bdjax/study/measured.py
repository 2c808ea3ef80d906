"""What was measured of a group of cells: a mean over seeds, and how sure.

The interval is Student's 95 % interval of the mean over seeds. With one seed
there is no spread to take it from: rates then get Wilson's interval of their
test images, which is narrower than what other seeds would show, and others
(hours, drops) none.
"""

import math
import statistics
from typing import NamedTuple

from scipy import stats

from bdjax.report import results
from bdjax.report.curves import line, timeline
from bdjax.report.load import Run
from bdjax.study.published import Cell

STUDENT, WILSON, POINT = "t", "Wilson", "none"
KEYS = {  # metric -> key of a record, and of the number of images behind it
  "ca": ("ca", "test_images"),
  "asr": ("asr", "triggered_images"),
  "ta": ("ta", "test_images"),
  "drop": ("drop", ""),
  "gpu_hours": ("device_hours", ""),
}


class Reading(NamedTuple):
  """A mean with its 95 % interval, in percent, or in hours."""

  mean: float
  low: float
  high: float
  seeds: int
  how: str = STUDENT

  def less(self, other: "Reading") -> "Reading":
    """Returns the difference to another; half widths add as squares."""
    mean = self.mean - other.mean
    low = math.hypot(self.mean - self.low, other.high - other.mean)
    high = math.hypot(self.high - self.mean, other.mean - other.low)
    seeds = min(self.seeds, other.seeds)
    return Reading(mean, mean - low, mean + high, seeds, self.how)


def read(records: list[results.Record], cell: Cell, run: Run) -> Reading | None:
  """Returns what a group's records say of a printed cell.

  Args:
    records: of one group, a seed each.
    cell: which metric, at which epoch, of which model.
    run: holds the curves.

  Returns:
    None where a record lacks the value.
  """
  pairs = [_value(record, cell, run) for record in records]
  if not pairs or any(value is None for value, _ in pairs):
    return None
  values, counts = zip(*pairs, strict=True)
  if cell.metric == "gpu_hours":
    return estimate(values, ())
  found = estimate(values, counts if KEYS[cell.metric][1] else ())
  scaled = (100 * x for x in found[:3])
  return Reading(*scaled, *found[3:])


def estimate(values: tuple[float, ...], counts: tuple[int, ...]) -> Reading:
  """Returns the mean of values over seeds and its interval.

  Args:
    values: one per seed.
    counts: images behind each, for rates; () for what is no rate.
  """
  mean, n = statistics.fmean(values), len(values)
  if n > 1:
    half = float(stats.t.ppf(0.975, n - 1)) * statistics.stdev(values) / n**0.5
    low, high = mean - half, mean + half
    if counts:
      low, high = max(0.0, low), min(1.0, high)
    return Reading(mean, low, high, n)
  ends = results.wilson(list(values), list(counts)) if counts else None
  if ends is None:
    return Reading(mean, mean, mean, n, POINT)
  return Reading(mean, *ends, n, WILSON)


def key(cell: Cell, record: results.Record) -> str:
  """Returns where a record holds a cell's metric.

  In a transfer the backdoor succeeds where one class takes all: the collapse
  (Sha et al., section 2.2: "all lead to the same (but random) class"). A clean
  model's numbers lie beside those of the model that it is compared with.
  """
  name = KEYS[cell.metric][0]
  moved = str(record["scenario"]).startswith("transfer")
  if name == "asr" and moved and cell.defense != "none":
    name = "collapse"
  return f"clean_{name}" if cell.regime == "clean" else name


def forgets(
  records: list[results.Record], cell: Cell, run: Run, *, below: float
) -> float | None:
  """Returns the first epoch whose mean ASR is below a percentage.

  Returns:
    Infinity if no probed epoch is; None if none was probed.
  """
  if not records:
    return None
  drawn = line(records, run.curves, key(cell, records[0]))
  if drawn is None:
    return None
  pairs = zip(drawn.epoch, drawn.mean, strict=True)
  return next(
    (float(e) for e, mean in pairs if e > 0 and 100 * mean < below), math.inf
  )


def _value(
  record: results.Record, cell: Cell, run: Run
) -> tuple[float | None, int]:
  name = key(cell, record)
  count = record.get(KEYS[cell.metric][1]) or 0
  if cell.epoch is None:
    return record.get(name), count
  rows = timeline(run.curves.get(record["cell"], []))
  if cell.metric == "gpu_hours":
    return _hours(rows, cell.epoch, record["devices"]), 0
  few = record.get("config.evaluate.curve_images") or record["test_images"]
  share = min(1.0, few / (record["test_images"] or 1))
  return rows.get(cell.epoch, {}).get(name), max(1, round(share * count))


def _hours(rows: dict[int, dict], epoch: int, devices: int) -> float | None:
  spent = [rows.get(e, {}).get("seconds_train") for e in range(1, epoch + 1)]
  return None if None in spent else sum(spent) * devices / 3600
