import numpy as np
import pytest

from bdjax.training import regimes
from bdjax.types import Recipe, Regime


def rates(regime, steps, epochs):
  schedule = regime.schedule(steps, epochs)
  return np.array([float(schedule(t)) for t in range(steps * epochs)])


def test_the_four_regimes_combine_two_ingredients():
  table = {n: make() for n, make in regimes.REGIMES.items()}
  has = {n: (r.schedule is not None, r.interleave) for n, r in table.items()}
  assert has == {
    "conventional": (False, False),
    "fmn": (True, True),
    "cyclic": (True, False),
    "interleave": (False, True),
  }


@pytest.mark.parametrize("make", [regimes.cyclic, regimes.fmn])
def test_options_reach_the_schedule(make):
  got = rates(make(lr_max1=0.5, cycle_steps=20), steps=10, epochs=4)
  assert int(got.argmax()) == 10 and got.max() == pytest.approx(0.5)
  assert regimes.fmn(original=True).original
  assert regimes.interleave(original=True).schedule is None


def test_bad_options_are_named():
  with pytest.raises(ValueError, match="phase1 is 1.5"):
    regimes.fmn(phase1=1.5)


def test_turns_alternate_and_may_be_longer():
  assert Regime().turns("p", "c") == ("p",)
  assert regimes.interleave().turns("p", "c") == ("p", "c")
  assert regimes.fmn(turn=2).turns("p", "c") == ("p", "p", "c", "c")


def test_turns_must_fill_the_epochs():
  plan = regimes.planned_epochs
  assert plan(Recipe(epochs=6), regimes.fmn(turn=3)) == 12
  assert plan(Recipe(epochs=7), regimes.cyclic()) == 7
  with pytest.raises(
    ValueError, match="7 epochs are no multiple of a turn of 3"
  ):
    plan(Recipe(epochs=7), regimes.fmn(turn=3))


PLANTED = regimes.fmn(start="planted")
KINDS = {n: make() for n, make in regimes.REGIMES.items()} | {
  "planted": PLANTED
}


@pytest.mark.parametrize(
  ("match", "wanted"),
  [
    (
      "epochs",
      dict(conventional=80, cyclic=80, interleave=160, fmn=160, planted=240),
    ),
    ("steps", dict.fromkeys(KINDS, 80)),
  ],
)
def test_regimes_are_equal_in_poisoned_epochs_or_in_steps(match, wanted):
  recipe = Recipe(epochs=80)
  for name, regime in KINDS.items():
    regime = regimes.matched(regime, match)
    before, rest = regimes.parts(recipe, regime)
    whole = before + regimes.planned_epochs(rest, regime)
    assert whole == wanted[name], name


def test_equal_steps_leave_half_to_the_planted_start():
  regime = regimes.matched(PLANTED, "steps")
  before, rest = regimes.parts(Recipe(epochs=9, lr=0.5), regime)
  assert (before, rest.epochs, rest.lr) == (4, 5, 0.5)


def test_only_what_takes_more_is_changed_by_a_match():
  for name in ("conventional", "cyclic"):
    regime = KINDS[name]
    assert regimes.matched(regime, "steps") is regime


def test_equal_steps_must_fill_a_poisoned_and_a_clean_turn():
  regime = regimes.matched(regimes.fmn(turn=2), "steps")
  assert regimes.planned_epochs(Recipe(epochs=8), regime) == 8
  with pytest.raises(ValueError, match="a poisoned and a clean turn of 4"):
    regimes.planned_epochs(Recipe(epochs=6), regime)
