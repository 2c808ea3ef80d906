"""The answer of a table in a sentence or two, and a card: best defense, cost.

The best defense is the one that ruined no model, diverged in no seed, was
judged on most of the planted backdoors and has the highest mean DER there (or,
where a model came from another task, the least ASR or collapse left). A mean
over attacks is taken seed by seed, and how sure the order is follows from the
seeds alone.
"""

import statistics
from typing import NamedTuple

from bdjax.report import intervals, judging, results, tables
from bdjax.report.judging import NONE
from bdjax.report.tables import rate

Label = tuple[str, str]  # attack, regime
DER = "DER"


class Answer(NamedTuple):
  """What a table says, to be read before it."""

  sentences: list[str]
  card: list[tuple[str, str]]  # (question, answer); empty where none is best


class Score(NamedTuple):
  """How a defense did on the backdoors that were planted."""

  defense: str
  judged: dict[Label, results.Record]  # its rows that say something of it
  ruined: int  # models, of all seeds
  lost: int  # cells that diverged
  seeds: dict[int, float]  # of whole ones, what is best high: DER, or 1 - rate
  unit: str  # which of them: DER, or the name of the rate that is left

  @property
  def rank(self) -> tuple[bool, bool, int, float]:
    """Sorts the best defense first."""
    good = self.mean("der") if self.unit == DER else 1 - self.mean("left")
    return self.ruined > 0, self.lost > 0, -len(self.judged), -good

  @property
  def gone(self) -> int:
    """How many backdoors it removed."""
    return sum(tables.verdict(row) == "gone" for row in self.judged.values())

  def mean(self, name: str) -> float:
    """Returns the mean of a number over its judged rows."""
    return statistics.fmean(row[name] for row in self.judged.values())


def answer(table: tables.Table) -> Answer:
  """Returns what a table says in a sentence or two, and its card."""
  planted = [label for label in table.attacks if _planted(table, label)]
  defenses = [name for name in table.defenses if name != NONE]
  failed = len(table.attacks) - len(planted)
  if not planted:
    text = (
      "No attack planted its backdoor, an ASR of 90 % in a model above chance: "
      "no defense is judged."
    )
    return Answer([text], [])
  if not defenses:
    text = f"{_counted(len(planted), 'backdoor')} planted; no defense was run."
    return Answer([text], [])
  rated = [_score(table, name, planted) for name in defenses]
  scores = sorted((s for s in rated if s.judged), key=lambda s: s.rank)
  notes = _notes(rated, failed, len(table.attacks))
  if not scores:
    return Answer(["No defense left a model that can be judged.", *notes], [])
  best, *others = scores
  return Answer(
    [_said(table, best, len(defenses)), *notes],
    [
      ("Best defense", _named(best)),
      ("What it costs", _cost(best) + _held(table, scores)),
      ("What is left", _left(best)),
      ("How sure", _sure(best, others)),
    ],
  )


def _planted(table: tables.Table, label: Label) -> bool:
  rows = (table.rows.get((*label, name)) for name in table.defenses)
  words = [tables.verdict(row) for row in rows if row]
  return any(word not in ("", tables.UNPLANTED) for word in words)


def _score(table: tables.Table, defense: str, planted: list[Label]) -> Score:
  found = {label: table.rows.get((*label, defense)) for label in planted}
  rows = {label: row for label, row in found.items() if row}
  words = {label: tables.verdict(row) for label, row in rows.items()}
  judged = {
    label: row
    for label, row in rows.items()
    if words[label] and words[label] not in tables.UNJUDGED
  }
  units = {DER if r["der"] is not None else rate(r) for r in judged.values()}
  unit = units.pop() if len(units) == 1 else "ASR"
  values: dict[int, list[float]] = {}
  for record in table.records:
    label = record["attack"], record["regime"]
    if record["defense"] == defense and label in judged:
      left = record.get(judging.success(record))
      score = record["der"] if unit == DER else 1 - left
      values.setdefault(record["seed"], []).append(score)
  seeds = {  # those that have them all: else means would be of other attacks
    seed: statistics.fmean(some)
    for seed, some in values.items()
    if len(some) == len(judged)
  }
  ruined = sum(
    row["ruins"]
    for label, row in rows.items()
    if words[label] == tables.DESTROYED
  )
  lost = sum(
    record["defense"] == defense
    and (record["attack"], record["regime"]) in planted
    for record in table.diverged
  )
  return Score(defense, judged, ruined, lost, seeds, unit)


def _said(table: tables.Table, best: Score, count: int) -> str:
  before = [row["asr_before"] for row in best.judged.values()]
  known = None not in before
  start = f"from {100 * statistics.fmean(before):.1f} " if known else ""
  rises = known and best.mean("left") > statistics.fmean(before)
  where = _counted(len(best.judged), "backdoor")
  many = f"the best of {count} defenses" if count > 1 else "the only defense"
  way = "rises" if rises else "falls"
  change = f"the {_rates(best)} {way} {start}to {100 * best.mean('left'):.1f} %"
  if best.gone:
    return f"{best.defense} is {many} here: over {where}, {change}."
  return (
    f"No backdoor is gone: under {best.defense}, {many} here, over {where}, "
    f"{change}."
  )


def _notes(rated: list[Score], failed: int, count: int) -> list[str]:
  ruins = [
    f"{score.defense} destroyed {_counted(score.ruined, 'model')}"
    for score in rated
    if score.ruined
  ]
  listed = tables.several(ruins, most=3)
  notes = [f"{listed}: a low ASR is no success there."]
  notes = notes if ruins else []
  losses = [
    f"{score.defense} diverged in {_counted(score.lost, 'cell')}"
    for score in rated
    if score.lost
  ]
  if losses:
    listed = tables.several(losses, most=3)
    notes.append(f"{listed}, and is judged by the others alone.")
  if failed:
    notes.append(f"{failed} of {count} attacks failed and judge no defense.")
  return notes


def _named(best: Score) -> str:
  where = _counted(len(best.judged), "backdoor")
  ruined = (
    f", {_counted(best.ruined, 'model')} destroyed" if best.ruined else ""
  )
  return f"{best.defense}: gone in {best.gone} of {where}{ruined}"


def _cost(best: Score) -> str:
  known = [
    row["ca_before"] - row["ca"]
    for row in best.judged.values()
    if row["ca_before"] is not None
  ]
  seconds = [row["seconds_train"] for row in best.judged.values()]
  texts = []
  if known:
    drop = 100 * statistics.fmean(known)
    word = "less" if drop >= 0 else "more"
    texts.append(f"{abs(drop):.1f} points {word} CA")
  if None not in seconds:
    texts.append(f"{statistics.fmean(seconds):,.3g} s of training a model")
  return ", ".join(texts) or "not recorded"


def _held(table: tables.Table, scores: list[Score]) -> str:
  """Returns how many clean images the best has if not all have as many."""
  held = {
    score.defense: tables.between(
      record["clean_images"]
      for record in table.records
      if record["defense"] == score.defense
    )
    for score in scores
  }
  mine, *others = held.values()
  more = [text for text in others if text != mine]
  if not more:
    return ""
  count = f"{len(more)} of the {len(others)}" if len(more) < len(others) else ""
  return f", {mine} clean images, where {count or 'all'} others hold " + (
    tables.several(more)
  )


def _left(best: Score) -> str:
  label, worst = max(best.judged.items(), key=lambda pair: pair[1]["left"])
  floors = dict.fromkeys(tables.floor(row) for row in best.judged.values())
  beside = f" ({next(iter(floors))})" if len(floors) == 1 else ""
  text = f"{_rates(best)} {100 * best.mean('left'):.1f}{beside}"
  if len(best.judged) == 1:
    return text
  return f"{text}, at most {100 * worst['left']:.1f}, by {', '.join(label)}"


def _sure(best: Score, others: list[Score]) -> str:
  if len(best.seeds) < 2:
    few = "one seed" if best.seeds else "no seed that has all of them"
    return f"Not sure: of {few}, and another may give another order"
  if not others:
    return f"{_counted(len(best.seeds), 'seed')}, and no other to compare with"
  second = others[0]
  unit = f"points of {best.unit} ahead of {second.defense}"
  gap = intervals.lead(best.seeds, second.seeds, unit)
  if not gap or best.judged.keys() != second.judged.keys():
    return f"{second.defense}, next, was not judged on the same models"
  return gap


def _rates(best: Score) -> str:
  """Returns what the rates that are left are called."""
  return tables.several(rate(row) for row in best.judged.values())


def _counted(count: int, noun: str) -> str:
  return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
