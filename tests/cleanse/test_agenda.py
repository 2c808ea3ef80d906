"""What a cleansing will do is said first, and a budget is kept."""

import math

import pytest

from bdjax.cleanse import agenda as agendas
from bdjax.cleanse.agenda import REPAIR, SEARCH, TRIAL, Agenda, Item, flag

SECONDS = {REPAIR: 100.0, SEARCH: 300.0, TRIAL: 20.0}


@pytest.fixture
def clock(monkeypatch):
  """A clock that is set by hand."""
  now = [50.0]
  monkeypatch.setattr(agendas.time, "perf_counter", lambda: now[0])
  return now


def made(budget, seconds=SECONDS):
  items = [Item(name, f"the {name}", s) for name, s in seconds.items()]
  return Agenda(items, budget, 50.0)


def test_it_says_what_comes_and_for_how_long(clock):
  assert made(None).told() == [
    "To do, in about 7 min on this machine:",
    "  the repair: about 2 min",
    "  the search: about 5 min",
    "  the trial: about 20 s",
  ]
  clock[0] += 30
  assert made(150).told()[2:] == [
    "  the search: about 5 min, likely left out",
    "  the trial: about 20 s, likely left out",
    "Of --budget=2.5m, 2 min are left: what does not fit is left out.",
  ]


def test_a_budget_that_even_the_repair_exceeds_is_refused(clock):
  clock[0] += 10
  made(110).check()
  with pytest.raises(ValueError, match="^--budget is 109s, of .* 10 s, but"):
    made(109).check()
  with pytest.raises(ValueError, match="give at least --budget=2.1m, or a --d"):
    made(109).check()  # a tenth more than 110 seconds
  made(None).check()


def test_what_does_not_fit_is_left_out_and_said(clock):
  agenda = made(399)
  agenda.check()
  assert agenda.begins(REPAIR) == (
    "the repair (about 2 min; in all about 7 min left)"
  )
  clock[0] += 100
  agenda.ends(REPAIR)
  assert agenda.begins(SEARCH) is None  # 299 seconds are left
  assert agenda.left_out == [
    "Left out: the search of patches, since it takes about 5 min, and 5 min of "
    "--budget=6.7m were left; so that no backdoor was looked for."
  ]


def test_what_took_longer_makes_what_comes_longer(clock):
  agenda = made(700)
  agenda.begins(REPAIR)
  clock[0] += 250  # 2.5 times as long
  agenda.ends(REPAIR)
  assert agenda.begins(SEARCH) is None  # 750 seconds then
  quick = made(700)
  quick._began = clock[0]
  quick.begins(REPAIR)
  clock[0] += 50
  quick.ends(REPAIR)
  assert "about 5 min" in quick.begins(SEARCH)


def test_what_overruns_is_given_up(clock):
  agenda = made(450)
  agenda.begins(REPAIR)
  clock[0] += 100
  agenda.ends(REPAIR)
  agenda.begins(SEARCH)
  agenda.watch()
  clock[0] += 351
  with pytest.raises(agendas.OverBudget):
    agenda.watch()
  agenda.stopped(SEARCH, "3 of 80 passes")
  assert "was over after 3 of 80 passes" in agenda.left_out[0]
  assert len(agenda.left_out) == 1  # no trial without patches is missed


def test_nothing_is_said_of_time_where_nobody_asked(clock):
  agenda = made(None, dict.fromkeys(SECONDS, math.nan))
  agenda.check()
  assert agenda.told() == [] and agenda.begins(REPAIR) == "the repair"
  clock[0] += 1e6
  agenda.ends(REPAIR)
  agenda.watch()
  assert agenda.begins(SEARCH) == "the search" and not agenda.left_out


@pytest.mark.parametrize(
  ("seconds", "text"),
  [
    (0.2, "1s"),
    (119.5, "120s"),
    (120, "2m"),
    (1800, "30m"),
    (1803, "31m"),
    (7200, "2h"),
  ],
)
def test_a_budget_is_shown_as_it_is_typed(seconds, text):
  assert flag(seconds) == text
