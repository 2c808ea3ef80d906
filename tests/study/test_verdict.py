"""The rule, case by case; intervals by hand."""

import pytest

from bdjax.study import measured, published, verdict
from bdjax.study.measured import Reading


def cell(metric="asr", value=30.0, defense="super_ft"):
  made = published.cell("fmn_table2", "lira fmn", f"{defense} {metric}")
  return made._replace(value=value)


def judged(found, *, paper=False, metric="asr", value=30.0, **more):
  return verdict.judge(cell(metric, value), found, paper=paper, **more).word


def test_the_mean_of_three_seeds_has_students_interval():
  # sd .02, t(.975; 2) = 4.302653: half width 4.302653 * .02 / sqrt(3).
  found = measured.estimate((0.90, 0.92, 0.94), (100, 100, 100))
  assert found.how == measured.STUDENT and found.seeds == 3
  assert found[:3] == pytest.approx((0.92, 0.870317, 0.969683), abs=1e-6)


def test_an_interval_of_rates_stays_in_their_range():
  # sd .007071, t(.975; 1) = 12.7062: half width .06353.
  found = measured.estimate((0.98, 0.99), (100, 100))
  assert found[:3] == pytest.approx((0.985, 0.921469, 1.0), abs=1e-6)
  assert measured.estimate((0.98, 0.99), ()).high > 1


def test_one_seed_has_wilsons_interval_and_says_so():
  # p = .9, n = 100, z = 1.959964: (p + z^2/2n ± ...) / (1 + z^2/n).
  found = measured.estimate((0.9,), (100,))
  assert found.how == measured.WILSON
  assert found[:3] == pytest.approx((0.9, 0.825634, 0.944771), abs=1e-6)


def test_one_seed_of_what_is_no_rate_has_no_interval():
  found = measured.estimate((0.25,), ())
  assert found == (0.25, 0.25, 0.25, 1, measured.POINT)


def test_half_widths_of_differences_add_as_squares():
  gap = Reading(50, 47, 53, 3).less(Reading(40, 36, 44, 2))
  assert gap == (10, 5, 15, 2, measured.STUDENT)


@pytest.mark.parametrize(
  ("metric", "low", "high", "word"),
  [
    ("asr", 34.9, 40, verdict.REPRODUCED),
    ("asr", 35.1, 40, verdict.REPRODUCED_NOT),
    ("asr", 10, 25, verdict.REPRODUCED),
    ("asr", 10, 24.9, verdict.REPRODUCED_NOT),
    ("ta", 34.9, 40, verdict.REPRODUCED),
    ("drop", 34.9, 40, verdict.REPRODUCED),
    ("ca", 31.9, 40, verdict.REPRODUCED),
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
  found = Reading((low + high) / 2, low, high, 1, measured.WILSON)
  assert judged(found, value=value) == word


@pytest.mark.parametrize("metric", ["ca", "ta", "drop", "gpu_hours"])
def test_a_smaller_protocol_compares_nothing_else(metric):
  assert judged(Reading(30, 30, 30, 3), metric=metric) == verdict.FOREIGN


def test_without_a_backdoor_a_defense_is_not_judged():
  found, weak = Reading(5, 4, 6, 3), Reading(49, 40, 58, 3)
  for paper in (True, False):
    for metric in ("asr", "ca"):
      word = judged(found, paper=paper, metric=metric, before=weak)
      assert word == verdict.UNPLANTED
  assert judged(found, before=weak, printed_before=99) == verdict.UNPLANTED
  # Table 1 of Sha et al. has Latent at 21.3 before the defense.
  assert judged(found, before=weak, printed_before=21.3) == verdict.KIND
  strong = Reading(50, 40, 60, 3)
  assert judged(found, before=strong) == verdict.KIND


def test_an_undefended_model_is_judged_by_itself():
  found = Reading(20, 15, 25, 3)
  word = verdict.judge(
    cell(defense="none", value=100.0), found, paper=False, before=found
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
