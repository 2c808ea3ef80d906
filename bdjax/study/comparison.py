"""A study's records gathered, and every printed cell beside them, judged."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from bdjax.report import divergence, judging, results
from bdjax.report.judging import NONE
from bdjax.report.load import Run
from bdjax.study import (
  catalog,
  claim,
  fmn,
  match,
  published,
  sequels,
  sha,
  sha_rates,
)
from bdjax.study import verdict as verdicts
from bdjax.study.claim import Finding
from bdjax.study.match import Evidence, Group
from bdjax.study.measured import Reading
from bdjax.study.published import Cell
from bdjax.study.verdict import Verdict

CLAIMS = (*fmn.CLAIMS, *sha.CLAIMS, *sha_rates.CLAIMS, *sequels.CLAIMS)


class Compared(NamedTuple):
  """A printed cell and what came of it.

  Attributes:
    cell: what is printed.
    reading: what was measured.
    verdict: how they compare.
    group: whose records stand for the cell; None if none or all do.
    reason: why a preset of ours stands for the printed defense, or "".
  """

  cell: Cell
  reading: Reading | None
  verdict: Verdict
  group: Group | None
  reason: str


def gather(study: str, runs: Sequence[Run]) -> Evidence:
  """Returns everything that work directories of one study hold.

  Args:
    study: its name.
    runs: the work directories, read.

  Raises:
    ValueError: they hold different protocols of the same cells, or several
      models in one task.
  """
  run = merged(runs)
  _check_models(run.records)
  evidence = Evidence(
    study,
    run,
    match.group(run.records),
    paper=all(catalog.follows(study, run.config) for run in runs),
  )
  named = _data(study)
  strange = bool(named) and named.isdisjoint(evidence.places)
  return evidence._replace(foreign=strange)


def _check_models(records: Sequence[results.Record]) -> None:
  """Refuses what would compare one network before with another after."""
  models: dict[tuple[str, str], set[str]] = {}
  for record in records:
    where = record["dataset"], record["scenario"]
    models.setdefault(where, set()).add(record["model"])
  for where, names in models.items():
    if len(names) > 1:
      raise ValueError(
        f"{' and '.join(sorted(names))} were trained on {where[0]}: a study "
        "compares one model with the paper's; give work directories of one."
      )


def _data(study: str) -> set[tuple[str, ...]]:
  """Returns the datasets that a study is of, or else its paper's others."""
  paper = catalog.STUDIES[study].paper
  others = [name for name, one in catalog.STUDIES.items() if one.paper == paper]
  for names in ((study,), others):
    named = {catalog.STUDIES[name].datasets for name in names}
    named |= {
      match.wanted_datasets(cell)
      for name in names
      for cell in published.read(name)
    }
    if named != {()}:
      return named - {()}
  return set()


def merged(runs: Sequence[Run]) -> Run:
  """Returns several work directories as one; of equal cells the last counts."""
  first, *rest = runs
  for run in rest:
    records = [*first.records, *run.records]
    first = first._replace(
      cells=results.latest([*first.cells, *run.cells], "cell"),
      records=_known(results.latest(records, "cell")),
      curves=first.curves | run.curves,
      pictures=first.pictures | run.pictures,
      findings=first.findings | run.findings,
      sequela=results.latest([*first.sequela, *run.sequela], "cell"),
      diverged=results.latest([*first.diverged, *run.diverged], "cell"),
      commands=list(dict.fromkeys([*first.commands, *run.commands])),
    )
  return first._replace(
    diverged=divergence.without(first.diverged, first.cells)
  )


def compare(evidence: Evidence) -> list[Compared]:
  """Returns every printed cell of a study with its verdict."""
  return [_compared(evidence, cell) for cell in published.read(evidence.study)]


def findings(evidence: Evidence) -> list[Finding]:
  """Returns what came of the claims that a study is asked for."""
  asked = [c for c in CLAIMS if evidence.study in c.studies]
  outcomes = [claim.settle(c, c.parts(evidence)) for c in asked]
  if any("synthetic" in place for place in evidence.places):
    word = verdicts.FOREIGN
    return [one._replace(status=word, toy=one.status) for one in outcomes]
  return outcomes


def tally(
  compared: Sequence[Compared],
) -> tuple[dict[str, int], dict[str, int]]:
  """Returns how many cells have each verdict, in the order of the words.

  Returns:
    Those after a defense, and those of undefended models.
  """
  counts = Counter(
    (one.cell.defense == NONE, one.verdict.word) for one in compared
  )
  after, before = (
    {w: counts[plain, w] for w in verdicts.WORDS if counts[plain, w]}
    for plain in (False, True)
  )
  return after, before


def _compared(evidence: Evidence, cell: Cell) -> Compared:
  group = match.find(evidence, cell) if cell.attack else None
  model, start = verdicts.UNKNOWN, match.before(cell)
  if cell.attack and cell.regime != "clean" and cell.defense != NONE:
    model = verdicts.Model(
      match.started(evidence, cell),
      published.value(start),
      match.ruined(evidence, cell),
      match.untaught(evidence, cell),
    )
  reading = match.reading(evidence, cell)
  word = verdicts.judge(
    cell,
    reading,
    model,
    paper=match.followed(evidence, group),
    foreign=evidence.foreign,
  )
  count = match.lost(evidence, cell) if reading is None and cell.attack else 0
  if count and word.word == verdicts.UNMEASURED:
    word = word._replace(why=f"{count} diverged")
  return Compared(cell, reading, word, group, match.reason(cell))


def _known(records: list[results.Record]) -> list[results.Record]:
  """Leaves out what stands for undefended models that other runs recorded."""

  def model(record):
    return tuple(record[key] for key in results.MODEL)

  real = {
    model(r)
    for r in records
    if r["defense"] == NONE and not judging.stands_in(r)
  }
  return [
    record
    for record in records
    if not (judging.stands_in(record) and model(record) in real)
  ]
