"""What is left of a run is told by what the like of it took."""

from bdjax.training.pace import Kind, Pace

PLANT, FT = Kind("blended · fmn", like="plant"), Kind("ft")
OTHER = Kind("wanet · fmn", like="plant")


def test_nothing_is_said_until_every_kind_is_known():
  pace = Pace([PLANT, FT, FT, OTHER, FT])
  pace.done(PLANT, 100.0)
  assert pace.left() is None
  pace.done(FT, 8.0)
  assert pace.left() == 8 + 100 + 8  # another attack is planted as long
  pace.done(FT, 4.0)
  assert pace.left() == 100 + 6
  pace.done(OTHER, 20.0)
  assert pace.left() == 6


def test_a_failure_tells_no_time():
  pace = Pace([FT, FT, FT])
  pace.done(FT)
  assert pace.left() is None
  pace.done(FT, 3.0)
  assert pace.left() == 3


def test_without_kinds_nothing_is_left():
  pace = Pace([])
  pace.done(Kind(""), 5.0)
  assert pace.left() == 0
