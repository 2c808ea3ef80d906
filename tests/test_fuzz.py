"""A few of the random configs that `python tests/fuzz_plans.py` makes."""

import random

import pytest


@pytest.fixture(scope="module")
def fuzz(beside):
  module = beside("fuzz_plans")
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(module.data, "load", module.data.load)  # taken back
    module.remember()
    yield module


def test_a_random_config_makes_a_plan_or_gets_one_sentence(fuzz):
  rng = random.Random(7)
  for _ in range(60):
    made = fuzz.changes(rng)
    assert fuzz.judge(made) is None, made


@pytest.mark.parametrize(
  "error", [KeyError("x"), ValueError("two\nlines"), ValueError()]
)
def test_the_judge_notices_what_is_no_sentence(fuzz, monkeypatch, error):
  def plan(config):
    raise error

  monkeypatch.setattr(fuzz.settings, "plan", plan)
  assert fuzz.judge({}) is not None
