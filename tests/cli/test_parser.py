"""Times of the command line."""

import pytest

from bdjax.cli import program


def budget(text):
  words = ["cleanse", "--model=a", "--images=b", "--out=c", f"--budget={text}"]
  return program.parse(words, "bdjax").budget


@pytest.mark.parametrize(
  ("text", "seconds"),
  [("90", 90), ("90s", 90), ("30m", 1800), ("1.5h", 5400), (".5m", 30)],
)
def test_times_are_seconds_minutes_or_hours(text, seconds):
  assert budget(text) == seconds


@pytest.mark.parametrize("text", ["", "0m", "-3m", "1d", "1e3", "m", "1:0"])
def test_what_is_no_time_is_refused_with_one(text):
  with pytest.raises(ValueError, match="--budget: .* such as 90s, 30m or 2h"):
    budget(text)
