"""What a cleansing will do, in which order, and about how long it will take.

Seconds are counted as `estimate` counts a run's: operations of the traced
methods, over how many a second this machine does in a few steps of plain
training of the suspect, which are measured at one batch size; and a compilation
for each program. Searches that may stop early are counted in full.

The repair comes first, since it is what is written, and since images that are
suspected are asked about before and after it. The search of patches may find
nothing, and is long; the patches are tried last. What does not fit a budget is
left out, and it is said.
"""

import math
import time
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bdjax.cleanse import audit as audits
from bdjax.cleanse import measure
from bdjax.cleanse.case import Case
from bdjax.cleanse.repair import Repair
from bdjax.methods import values
from bdjax.runs import speed, work
from bdjax.runs.work import Stage
from bdjax.training.progress import duration
from bdjax.types import Access

_SHORT = 60.0  # seconds; what is shorter says little of the machine's pace
REPAIR, SEARCH, TRIAL = "repair", "search", "trial"
_WHAT = {
  REPAIR: "the repair",
  SEARCH: "the search of patches",
  TRIAL: "trying the patches on held-out images",
}
_SO = {
  SEARCH: "so that no backdoor was looked for",
  TRIAL: "so that how many images they turn is not known",
}


class OverBudget(Exception):
  """The time that the user gave is over."""


class Item(NamedTuple):
  """Something to be done.

  Attributes:
    name: REPAIR, SEARCH or TRIAL.
    words: what it is.
    seconds: that it takes, about; NaN where nobody asked.
  """

  name: str
  words: str
  seconds: float


class Agenda:
  """What is to be done, and how much of the time for it is left."""

  def __init__(
    self, items: Sequence[Item], budget: float | None, began: float
  ) -> None:
    """Takes items in their order.

    Args:
      items: the repair first.
      budget: seconds for everything; None for as long as it takes.
      began: when the command did, by `time.perf_counter`.
    """
    self.items, self.budget = {item.name: item for item in items}, budget
    self.left_out: list[str] = []  # in sentences
    self._began, self._pace, self._due = began, 1.0, list(self.items)
    self._started = began

  def spent(self) -> float:
    """Returns the seconds since the command began."""
    return time.perf_counter() - self._began

  def left(self) -> float:
    """Returns the seconds of the budget that are left; infinite without."""
    return math.inf if self.budget is None else self.budget - self.spent()

  def check(self) -> None:
    """Refuses a budget in which not even the repair can be done.

    Raises:
      ValueError: with one that would do.
    """
    first = self.items[REPAIR]
    if first.seconds > self.left():
      enough = flag(1.1 * (self.spent() + first.seconds))
      raise ValueError(
        f"--budget is {flag(self.budget)}, of which reading and measuring took "
        f"{duration(self.spent())}, but {first.words} takes about "
        f"{duration(first.seconds)}: give at least --budget={enough}, or a "
        "--defense that trains less, such as 'ft(epochs=5)'."
      )

  def told(self) -> list[str]:
    """Returns what will be done and about how long it takes, in lines."""
    if math.isnan(self.items[REPAIR].seconds):
      return []
    total = sum(item.seconds for item in self.items.values())
    lines = [f"To do, in about {duration(total)} on this machine:"]
    used = 0.0
    for item in self.items.values():
      used += item.seconds
      late = used > self.left()
      words = f"  {item.words}: about {duration(item.seconds)}"
      lines.append(words + (", likely left out" if late else ""))
    if self.budget is not None:
      lines.append(
        f"Of --budget={flag(self.budget)}, {duration(max(0, self.left()))} are "
        "left: what does not fit is left out."
      )
    return lines

  def begins(self, name: str) -> str | None:
    """Returns a label of an item that begins, or None if it does not fit."""
    item = self.items[name]
    seconds = self._pace * item.seconds
    if seconds > self.left() and name != REPAIR:
      self._leave(
        name,
        f"it takes about {duration(seconds)}, and "
        f"{duration(max(0, self.left()))} of --budget={flag(self.budget)} were "
        "left",
      )
      return None
    self._started = time.perf_counter()
    if math.isnan(seconds):
      return item.words
    due = (self.items[one].seconds for one in self._due)
    rest = min(self._pace * sum(due), max(seconds, self.left()))
    return (
      f"{item.words} (about {duration(seconds)}; in all about {duration(rest)} "
      "left)"
    )

  def ends(self, name: str) -> None:
    """Notes that an item is done, and how much longer than expected it took."""
    took = time.perf_counter() - self._started
    self._pace = max(1.0, took / max(self.items[name].seconds, _SHORT))
    self._due.remove(name)

  def watch(self) -> None:
    """Stops what may be left undone.

    Raises:
      OverBudget: the time is over.
    """
    if self.left() < 0:
      raise OverBudget

  def stopped(self, name: str, done: str) -> None:
    """Notes an item that was given up, such as after `3 of 80 passes`."""
    self._leave(
      name, f"--budget={flag(self.budget)} was over after {done} of it"
    )

  def _leave(self, name: str, why: str) -> None:
    self.left_out.append(f"Left out: {_WHAT[name]}, since {why}; {_SO[name]}.")
    for one in (name, TRIAL) if name == SEARCH else (name,):
      self._due.remove(one)


def flag(seconds: float) -> str:
  """Returns seconds as a user types them, no fewer."""
  minutes = seconds / 60
  if minutes < 2:
    return f"{math.ceil(seconds)}s"
  if minutes >= 120 and minutes % 60 == 0:
    return f"{minutes / 60:g}h"
  return f"{values.rounded_up(minutes):g}m" if minutes % 1 else f"{minutes:g}m"


def of(
  case: Case,
  fixed: Repair,
  *,
  audit: bool,
  budget: float | None,
  began: float,
  told: bool,
) -> Agenda:
  """Returns the agenda of a case.

  Args:
    case: the suspect and the images.
    fixed: what repairs.
    audit: whether a backdoor is looked for.
    budget: seconds for everything, or None.
    began: when the command did, by `time.perf_counter`.
    told: whether anybody hears how long it takes; a budget must know.
  """
  count = case.suspect.num_classes
  words = {REPAIR: f"repair: {fixed.label}"}
  if audit:
    words[SEARCH] = f"audit: searching a patch for each of {count} classes"
    words[TRIAL] = "audit: trying the patches on held-out images"
  asked = budget is not None or told and audit
  seconds = _seconds(case, fixed, audit) if asked else {}
  items = [Item(k, v, seconds.get(k, math.nan)) for k, v in words.items()]
  return Agenda(items, budget, began)


def _seconds(case: Case, fixed: Repair, audit: bool) -> dict[str, float]:
  """Returns about how many seconds each item takes here."""
  forward, held = _forward(case), len(case.held_label)
  triggered = case.images.triggered
  asked = held + measure.NOISE + (0 if triggered is None else len(triggered))
  stages = {REPAIR: _stages(fixed.defense.defend, case.access)}
  flop = {REPAIR: 2 * asked * forward}
  if audit:
    stages[SEARCH] = _stages(_searching, case.access)
    images = min(audits.STAMPED, held) * case.suspect.num_classes
    flop |= {SEARCH: 0.0, TRIAL: 2 * images * forward}
  for name, some in stages.items():
    flop[name] += sum(stage.flop for stage in some)
  sizes = [(s.flop, s.batch_size) for some in stages.values() for s in some]
  size = max(sizes, default=(0, min(256, case.access.clean.size)))[1]
  pace = speed.alone(case.model, case.images.image.shape[1:], size)
  return {
    name: some / pace.flops + len(stages.get(name, ())) * pace.compile_seconds
    for name, some in flop.items()
  }


def _searching(key, access, fit):
  return audits.inverted(key, access, fit, seed=0, rounds=audits.ROUNDS)


def _stages(method, access: Access) -> list[Stage]:
  def program(fit, key, access):
    return method(key, access, fit)

  return work.stages(program, jax.random.key(0), access)[1]


def _forward(case: Case) -> float:
  """Returns the operations of asking about one image."""
  image = jnp.zeros((1, *case.images.image.shape[1:]))

  def answer(variables, image):
    return case.model.apply(variables, image, train=False)[0]

  shapes = jax.eval_shape(lambda x: x, case.suspect.variables)
  return work.flop(jax.make_jaxpr(answer)(shapes, image).jaxpr)
