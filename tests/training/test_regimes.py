import numpy as np
import pytest

from bdjax.training import budget, regimes
from bdjax.types import Recipe, Regime


def rates(regime, steps, epochs):
  schedule = regime.schedule(steps, epochs)
  return np.array([float(schedule(t)) for t in range(steps * epochs)])


def test_regimes_combine_their_ingredients():
  table = {n: make() for n, make in regimes.REGIMES.items()}

  def parts(regime):
    ways = regime.wrap, regime.second, regime.against
    return tuple(map(bool, (regime.schedule, regime.interleave, *ways)))

  assert {name: parts(regime) for name, regime in table.items()} == {
    "conventional": (False, False, False, False, False),
    "fmn": (True, True, False, False, False),
    "cyclic": (True, False, False, False, False),
    "interleave": (False, True, False, False, False),
    "sbl": (False, False, True, True, False),
    "abi": (False, False, True, False, False),
    "adaptive": (False, True, False, False, True),
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
  plan = budget.planned_epochs
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
      dict(conventional=80, cyclic=80, interleave=160, fmn=160, planted=240)
      | dict(sbl=86, abi=80, adaptive=160),
    ),
    ("steps", dict.fromkeys(KINDS, 80)),
  ],
)
def test_regimes_are_equal_in_poisoned_epochs_or_in_steps(match, wanted):
  recipe = Recipe(epochs=80)
  for name, regime in KINDS.items():
    regime = budget.matched(regime, match)
    before, rest, after = budget.parts(recipe, regime)
    whole = before + budget.planned_epochs(rest, regime) + after
    assert whole == wanted[name], name


def test_equal_steps_leave_half_to_the_planted_start():
  regime = budget.matched(PLANTED, "steps")
  before, rest, _ = budget.parts(Recipe(epochs=9, lr=0.5), regime)
  assert (before, rest.epochs, rest.lr) == (4, 5, 0.5)


def test_a_second_stage_has_its_share_of_the_epochs_and_one_at_least():
  regime = budget.matched(regimes.sbl(length=0.25), "steps")
  before, rest, after = budget.parts(Recipe(epochs=8, lr=0.5), regime)
  assert (before, rest.epochs, rest.lr, after) == (0, 6, 0.5, 2)
  short = budget.matched(regimes.sbl(), "steps")
  assert budget.parts(Recipe(epochs=3), short)[1:] == (Recipe(epochs=2), 1)


def test_the_rate_of_interleaved_turns_spans_both_kinds():
  recipe = Recipe(epochs=4, batch_size=10, lr=0.2, schedule="cosine")
  rate = budget.planned_rate(recipe, regimes.interleave(), size=100)
  assert float(rate(40)) == pytest.approx(0.1)  # half of 8 epochs


def test_the_rate_between_rehearsals_does_not_fall():
  recipe = Recipe(epochs=4, batch_size=10, lr=0.2, schedule="cosine")
  rate = budget.planned_rate(recipe, regimes.adaptive(), size=100)
  assert [float(rate(step)) for step in (0, 20, 39)] == [pytest.approx(0.2)] * 3


def test_only_what_takes_more_is_changed_by_a_match():
  for name in ("conventional", "cyclic"):
    regime = KINDS[name]
    assert budget.matched(regime, "steps") is regime


def test_equal_steps_must_fill_a_poisoned_and_a_clean_turn():
  regime = budget.matched(regimes.fmn(turn=2), "steps")
  assert budget.planned_epochs(Recipe(epochs=8), regime) == 8
  with pytest.raises(ValueError, match="a poisoned and a clean turn of 4"):
    budget.planned_epochs(Recipe(epochs=6), regime)
