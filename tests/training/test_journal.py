"""How a training's time is split, by a clock that is set by hand."""

import pytest

from bdjax.training import journal as journals
from bdjax.training.journal import Journal


@pytest.fixture
def clock(monkeypatch):
  """Returns the time and the seconds of compiling, which tests set."""
  now = [0.0, 0.0]
  monkeypatch.setattr(journals, "_now", lambda: tuple(now))
  return now


def test_time_outside_epochs_is_training_but_for_compiling(clock):
  journal = Journal(begun=(0.0, 0.0))
  clock[:] = 5.0, 3.0  # before it begins: a model was loaded
  journal.begin()
  clock[:] = 9.0, 6.0  # first weights: four seconds, three of them compiling
  with journal.counted():
    clock[:] = 19.0, 8.0
  journal.rows += [
    {"seconds_compile": 2.0, "seconds_train": 6.0, "seconds_eval": 1.0}
  ]
  clock[:] = 20.0, 8.0  # and one second behind the epochs
  assert journal.spent() == {
    "compile": pytest.approx(5.0),
    "train": pytest.approx(8.0),
    "eval": pytest.approx(1.0),
  }


def test_more_compiling_than_time_is_no_negative_training(clock):
  journal = Journal(begun=(0.0, 0.0))
  clock[:] = 2.0, 3.0
  spent = journal.spent()
  assert (spent["compile"], spent["train"]) == (2.0, 0.0)
