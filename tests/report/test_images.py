"""Differences are seen, whether few pixels change by much or all by little."""

import numpy as np
import pytest

from bdjax.report import images, sections
from bdjax.report.load import Picture


def corner(size):
  """Return pictures whose last 3 x 3 pixels change by a size."""
  clean = np.full((2, 32, 32, 3), 100, np.uint8)
  triggered = clean.copy()
  triggered[:, -3:, -3:] += size
  return clean, triggered


@pytest.mark.parametrize(
  ("size", "times"), [(2, 32), (10, 6), (64, 1), (150, 1)]
)
def test_a_corner_is_seen_as_a_blend_of_the_same_size_is(size, times):
  clean, triggered = corner(np.uint8(size))
  assert images.gain(clean, triggered) == times
  assert images.gain(clean, clean + np.uint8(size)) == times
  seen = images.difference(clean[0], triggered[0], times).astype(int)
  assert abs(seen[-1, -1] - images.GREY).min() >= 60
  assert (seen[0, 0] == images.GREY).all()


def test_no_change_is_grey():
  clean, _ = corner(np.uint8(1))
  assert images.gain(clean, clean) == 1


def test_a_few_large_changes_do_not_hide_the_faint_rest():
  clean = np.full((1, 32, 32, 3), 100, np.uint8)
  triggered = clean + np.uint8(2)
  triggered[:, 0, :10] = 250
  assert images.gain(clean, triggered) == 32
  strip = sections.strip(Picture(clean, triggered, ["a"], ["b"]))
  assert (strip["gain"], strip["largest"]) == (32, 150)
