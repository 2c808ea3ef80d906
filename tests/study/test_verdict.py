"""The rule, case by case; intervals by hand."""

import pytest

from bdjax.report import judging
from bdjax.study import measured, published, verdict
from bdjax.study.measured import Reading


def cell(metric="asr", value=30.0, defense="super_ft"):
  made = published.cell("fmn_table2", "lira fmn", f"{defense} {metric}")
  return made._replace(value=value)


def judged(
  found, *, paper=False, foreign=False, metric="asr", value=30.0, **known
):
  model, one = verdict.Model(**known), cell(metric, value)
  return verdict.judge(one, found, model, paper=paper, foreign=foreign).word


def test_the_mean_of_three_seeds_has_students_interval():
  # sd .02, t(.975; 2) = 4.302653: half width 4.302653 * .02 / sqrt(3).
  found = measured.estimate({0: 0.90, 1: 0.92, 2: 0.94})
  assert found.how == measured.STUDENT and found.seeds == 3
  assert found[:3] == pytest.approx((0.92, 0.870317, 0.969683), abs=1e-6)


def test_an_interval_of_rates_stays_in_their_range():
  # sd .007071, t(.975; 1) = 12.7062: half width .06353.
  values = {0: 0.98, 1: 0.99}
  found = measured.estimate(values, (0.0, 1.0))
  assert found[:3] == pytest.approx((0.985, 0.921469, 1.0), abs=1e-6)
  assert measured.estimate(values).high > 1


@pytest.mark.parametrize("paper", [True, False])
def test_one_seed_has_no_interval_and_decides_nothing(paper):
  found = measured.estimate({0: 30.0}, (0.0, 100.0))
  assert found[:5] == (30.0, 0.0, 100.0, 1, measured.POINT)
  assert judged(found, paper=paper) == verdict.OPEN
  far = measured.estimate({0: 99.0}, (0.0, 100.0))
  assert judged(far, paper=paper) == verdict.OPEN
  assert found.less(far).low < 0 < found.less(far).high


def test_half_widths_of_differences_add_as_squares():
  gap = Reading(50, 47, 53, 3).less(Reading(40, 36, 44, 2))
  assert gap == Reading(10, 5, 15, 2, measured.STUDENT)


def test_seeds_that_both_have_are_compared_one_by_one():
  # Differences 2 and 4: mean 3, sd 1.414, t(.975; 1) = 12.7062, half 12.7062.
  one = measured.estimate({0: 52.0, 1: 24.0, 7: 99.0})
  other = measured.estimate({1: 20.0, 0: 50.0, 8: 1.0})
  gap = one.less(other)
  assert gap[:3] == pytest.approx((3, -9.706205, 15.706205), abs=1e-6)
  assert (gap.seeds, gap.how) == (2, measured.PAIRED)


@pytest.mark.parametrize(
  ("metric", "low", "high", "word"),
  [
    ("asr", 25, 35, verdict.REPRODUCED),
    ("asr", 24.9, 35, verdict.OPEN),
    ("asr", 25, 35.1, verdict.OPEN),
    ("asr", 0, 100, verdict.OPEN),
    ("asr", 35.1, 40, verdict.REPRODUCED_NOT),
    ("asr", 10, 24.9, verdict.REPRODUCED_NOT),
    ("ta", 25, 35, verdict.REPRODUCED),
    ("drop", 25, 35, verdict.REPRODUCED),
    ("ca", 28, 32, verdict.REPRODUCED),
    ("ca", 28, 32.1, verdict.OPEN),
    ("ca", 32.1, 40, verdict.REPRODUCED_NOT),
    ("gpu_hours", 29, 31, verdict.FOREIGN),
  ],
)
def test_the_papers_protocol_compares_numbers(metric, low, high, word):
  found = Reading((low + high) / 2, low, high, 3)
  assert judged(found, paper=True, metric=metric) == word


@pytest.mark.parametrize(
  ("value", "low", "high", "word"),
  [
    (30, 10, 49.9, verdict.KIND),
    (30, 50, 60, verdict.KIND_NOT),
    (30, 49, 51, verdict.OPEN),
    (80, 50, 60, verdict.KIND),
    (80, 10, 49.9, verdict.KIND_NOT),
    (80, 49.9, 50, verdict.OPEN),
    (50, 60, 70, verdict.KIND),  # from 50 on an attack succeeds
  ],
)
def test_a_smaller_protocol_compares_sides(value, low, high, word):
  found = Reading((low + high) / 2, low, high, 3)
  assert judged(found, value=value) == word


@pytest.mark.parametrize("metric", ["ca", "ta", "drop", "gpu_hours"])
def test_a_smaller_protocol_compares_nothing_else(metric):
  assert judged(Reading(30, 30, 30, 3), metric=metric) == verdict.FOREIGN


def test_a_seed_without_a_backdoor_hides_in_no_mean():
  found, before = Reading(5, 4, 6, 3), measured.estimate({0: 99, 1: 89, 2: 99})
  assert before.mean > 95
  assert judged(found, before=before) == verdict.UNPLANTED
  planted = measured.estimate({0: 99, 1: 90, 2: 99})
  assert judged(found, before=planted) == verdict.KIND


def test_without_a_backdoor_a_defense_is_not_judged():
  found, weak = Reading(5, 4, 6, 3), Reading(89.9, 88, 92, 3)
  for paper in (True, False):
    for metric in ("asr", "ca"):
      word = judged(found, paper=paper, metric=metric, before=weak)
      assert word == verdict.UNPLANTED
  assert judged(found, before=weak, printed_before=100) == verdict.UNPLANTED
  assert judged(found, before=weak, printed_before=99.9) == verdict.KIND
  # Table 1 of Sha et al. has Latent at 21.3 before the defense.
  assert judged(found, before=weak, printed_before=21.3) == verdict.KIND
  assert judged(found, untaught=True) == verdict.UNPLANTED
  strong = Reading(90, 80, 95, 3)
  assert judged(found, before=strong, printed_before=100) == verdict.KIND
  assert judged(found, before=strong) == verdict.KIND


@pytest.mark.parametrize(
  ("ca", "ca_before", "classes", "ruined"),
  [
    (0.49, 0.9, 10, True),  # .1 + .8 / 2 = .5 is left at least
    (0.50, 0.9, 10, False),
    (0.49, 0.9, 100, False),  # .01 + .89 / 2 = .455
    (0.72, 0.95, 2, True),  # .5 + .45 / 2 = .725
  ],
)
def test_more_than_half_above_chance_lost_is_destroyed(
  ca, ca_before, classes, ruined
):
  row = {"ca": ca, "ca_before": ca_before, "classes": classes}
  assert judging.destroyed(row) is ruined
  moved = {"ca": ca, "ca_before": None, "clean_ca": ca_before}
  assert judging.destroyed(moved | {"classes": classes}) is ruined


def test_a_destroyed_model_is_no_success():
  found = Reading(5, 4, 6, 3)
  assert judged(found, value=5) == verdict.KIND
  assert judged(found, value=5, ruined=True) == verdict.DESTROYED


def test_an_undefended_model_is_judged_by_itself():
  found = Reading(20, 15, 25, 3)
  word = verdict.judge(
    cell(defense="none", value=100.0), found, verdict.Model(found), paper=False
  )
  assert word.word == verdict.KIND_NOT


def test_what_is_missing_is_said():
  assert judged(None) == verdict.UNMEASURED
  assert judged(Reading(5, 4, 6, 3), value=None) == verdict.UNPRINTED
  assert judged(None, value=None) == verdict.UNPRINTED
  assert judged(Reading(5, 4, 6, 3), foreign=True) == verdict.FOREIGN


def test_the_rules_words_are_those_of_its_text():
  for word in verdict.WORDS:
    if word != verdict.UNPRINTED:
      assert f"`{word}`" in " ".join(verdict.__doc__.split())
