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


def halves(right, *, moved, seed=0, classes=10, count=40):
  """Returns labels, answers and confidence of a suspect.

  Of class 1, `moved` images lie in folder 0.

  Args:
    right: its accuracy; it is surer of right answers by its accuracy.
    moved: how many.
    seed: of all.
    classes: how many.
    count: images of each.
  """
  rng = np.random.default_rng(seed)
  kind = np.repeat(np.arange(classes), count)
  hit = rng.random(len(kind)) < right
  answers = np.where(hit, kind, (kind + 1) % classes)
  label = kind.copy()
  label[np.flatnonzero(kind == 1)[:moved]] = 0
  low = np.where(hit, right / 2, 0)
  return label, answers, rng.uniform(low, 1)


def test_most_of_a_class_in_another_s_folder():
  """30 of 70 are 42.9 %, from 31.9 by Wilson."""
  label, answers, confidence = halves(1.0, moved=30)
  assert (answers == label).mean() == 0.925
  (found,) = labels.mixed(label, answers, confidence)
  assert found == (0, 1, (30, 70))
  said = labels.mixture([found], ("ant", *"bcdefghij"))
  assert "30 of the 70 images of class 0 (ant) as class 1 (b)" in said
  assert "--mean" in said


@pytest.mark.parametrize(("moved", "seen"), [(13, False), (14, True)])
def test_a_large_part_is_beyond_chance(moved, seen):
  """By Wilson's formula 13 of 53 are from 14.9 %, and 14 of 54 from 16.1."""
  assert bool(labels.mixed(*halves(1.0, moved=moved))) == seen


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("right", [0.3, 0.4, 0.6, 0.8])
def test_a_weak_network_has_no_mixed_folders(right, seed):
  """All of its mistakes about a class are of one other, as cats and dogs."""
  assert labels.mixed(*halves(right, moved=0, seed=seed)) == []


@pytest.mark.parametrize(("sureness", "seen"), [(0.9, True), (0.2, False)])
def test_mistakes_count_where_others_are_right_when_as_sure(sureness, seen):
  """Half of class 3 is taken for 5, and of class 7, less surely, for 8.

  Of the 360 images in other folders 341 are right, which are 94.7 %; 341 of
  the 341 that are surer than .25 are.
  """
  label, answers, _ = halves(1.0, moved=0)
  confidence = np.full(len(label), 0.9)
  for kind, other, value, count in ((3, 5, sureness, 20), (7, 8, 0.25, 19)):
    rows = np.flatnonzero(label == kind)[:count]
    answers[rows], confidence[rows] = other, value
  found = labels.mixed(label, answers, confidence)
  assert ((3, 5, (20, 40)) in found) == seen


def test_nothing_is_said_of_folders_that_are_not_mixed():
  assert labels.mixture([], "ab") == ""
