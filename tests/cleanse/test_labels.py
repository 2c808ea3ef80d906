"""Wrong labels show in how sure a suspect is of answers that are not wrong."""

import numpy as np
import pytest

from bdjax.cleanse import labels


def drawn(*, count, wrong, mistaken, seed=0):
  """Returns right and confidence of a suspect, of which labels are wrong.

  Args:
    count: answers.
    wrong: share of the labels that is.
    mistaken: share of the answers that is, of which it is less sure.
    seed: of all.
  """
  rng = np.random.default_rng(seed)
  mistake = rng.random(count) < mistaken
  low = np.where(mistake, 0.3, 0.8)
  return ~mistake & (rng.random(count) >= wrong), rng.uniform(low, 1)


def test_sureness_by_hand():
  """Of six pairs the right answer is surer in three, and as sure in one.

  By Hanley and McNeil's formula with s = 7/12: q1 = 7/17, q2 = 49/114, and
  the variance (s(1 - s) + (q1 - s^2) + 2 (q2 - s^2)) / 6.
  """
  right = np.array([1, 1, 0, 0, 0], bool)
  confidence = np.array([0.9, 0.4, 0.95, 0.4, 0.3])
  share, error = labels.sureness(right, confidence)
  assert share == pytest.approx(7 / 12)
  s = 7 / 12
  variance = s * (1 - s) + 7 / 17 - s**2 + 2 * (49 / 114 - s**2)
  assert error == pytest.approx((variance / 6) ** 0.5)


@pytest.mark.parametrize("right", [True, False])
def test_there_are_no_pairs_where_all_answers_are_alike(right):
  share, _ = labels.sureness(np.full(9, right), np.linspace(0.5, 1, 9))
  assert np.isnan(share)
  assert labels.doubt(np.full(9, right), np.linspace(0.5, 1, 9)) == ""


@pytest.mark.parametrize("mistaken", [0.05, 0.3, 0.6])
@pytest.mark.parametrize("wrong", [0.0, 0.02])
def test_mistakes_are_no_wrong_labels(mistaken, wrong):
  """The right one is surer in 6 of 7 pairs of it and a mistake."""
  assert labels.doubt(*drawn(count=500, wrong=wrong, mistaken=mistaken)) == ""


@pytest.mark.parametrize("wrong", [0.3, 0.5])
def test_wrong_labels_are_seen(wrong):
  said = labels.doubt(*drawn(count=500, wrong=wrong, mistaken=0.05))
  assert "look whether images lie in folders of other classes" in said


def test_few_answers_prove_nothing():
  assert labels.doubt(*drawn(count=12, wrong=0.5, mistaken=0.0)) == ""
