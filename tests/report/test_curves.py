"""Lines from rows: stages joined, seeds averaged, rates spread."""
# ruff: noqa: D103

import numpy as np

from bdjax.report.curves import line, rates, timeline


def row(epoch, stage="a", **values):
  """Return a row of one cell."""
  return {"cell": "c", "stage": stage, "epoch": epoch, **values}


def test_timeline_puts_stages_one_after_another():
  rows = [row(1), row(2), row(1, "b"), row(2, "b"), row(3, "b")]
  joined = timeline(rows)
  assert list(joined) == [1, 2, 3, 4, 5]
  assert joined[3] is rows[2]


def test_line_starts_before_the_defense_and_averages_shared_epochs():
  cells = [{"cell": "a", "asr_before": 1.0}, {"cell": "b", "asr_before": 0.8}]
  curves = {
    "a": [row(1, asr=0.6), row(2), row(3, asr=0.1)],
    "b": [row(1, asr=0.2), row(2, asr=0.3), row(3, asr=0.3)],
  }
  drawn = line(cells, curves, "asr")
  np.testing.assert_array_equal(drawn.epoch, [0, 1, 3])
  np.testing.assert_allclose(drawn.mean, [0.9, 0.4, 0.2])
  half = np.sqrt(0.5)  # sample sd of two values, by their difference
  np.testing.assert_allclose(drawn.sd, np.array([0.2, 0.4, 0.2]) * half)


def test_line_of_unprobed_epochs_is_none():
  cells = [{"cell": "a", "asr_before": 1.0}]
  assert line(cells, {"a": [row(1)]}, "asr") is None
  assert line(cells, {}, "asr") is None
  assert line([], {}, "asr") is None
  drawn = line(cells, {"a": [row(1, asr=0.5)]}, "asr")
  assert drawn.sd is None


def test_rates_spread_over_their_epoch():
  rows = [row(2, lr=[0.4]), row(1, lr=[0.1, 0.2, None, 0.3]), row(3)]
  epochs, lr = rates(rows)
  np.testing.assert_allclose(epochs, [0.125, 0.375, 0.875, 1.5])
  np.testing.assert_allclose(lr, [0.1, 0.2, 0.3, 0.4])
  assert rates([row(1), row(2, lr=[])]) is None
