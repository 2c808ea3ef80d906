"""The steps of a cell: score what is planted; defend it and score again."""

from typing import Any

import jax

from bdjax.report.results import Record
from bdjax.runs import experiment, knowledge, models, records, scoring
from bdjax.runs.cells import Cell
from bdjax.runs.session import Session
from bdjax.training import metrics
from bdjax.training.journal import Journal
from bdjax.types import Access, Backdoor, Defended, Params

_FLOOR = "ca", "asr"  # rates of a clean model beside a backdoored one's


def score_planted(session: Session, cell: Cell) -> Record:
  """Returns the record of a planted model, as it is found."""
  plan, backdoor = session.plan, models.backdoor(session, cell)
  access = knowledge.planted(plan, cell, backdoor)
  counts, scoring_time = session.scorer.score(
    cell, Defended(access.variables), access, backdoor
  )
  name = session.names.planted(cell)
  session.workdir.picture(name, records.pictures(cell, backdoor, plan))
  before = {f"{k}_before": v for k, v in scoring.rates(counts).items()}
  planting = models.planting(session, cell)
  more = {"train_accuracy": planting.train_accuracy}
  if plan.floor:
    clean = models.clean(session, cell)
    more |= _of_clean(session, cell, clean, access, backdoor, _FLOOR)
  return more | records.of_cell(
    plan,
    session.names,
    cell,
    counts,
    _sum(planting.spent, scoring_time),
    before=before,
    clean_images=0,
    where=planting.where,
  )


def defend(session: Session, cell: Cell, before: Record) -> Record:
  """Returns the record of a defended model.

  Args:
    before: the record of the planted model.

  Raises:
    FloatingPointError: training has diverged.
    ValueError: the defense cannot work here, and says why.
  """
  name, journal = session.names.id(cell), Journal()
  backdoor = models.backdoor(session, cell)
  access = knowledge.user(session.plan, cell, backdoor)
  probe = session.scorer.probe(cell, access, backdoor)
  fit = session.fit(name, journal=journal, probe=probe)
  journal.begin()
  state = experiment.defend(cell.key, cell.defense.built, access, fit)
  jax.block_until_ready(state)
  spent = journal.spent()
  session.workdir.curves(name, journal)
  return finish(session, cell, backdoor, access, state, spent, before)


def finish(
  session: Session,
  cell: Cell,
  backdoor: Backdoor,
  access: Access,
  state: Defended,
  spent: dict[str, float],
  before: Record,
) -> Record:
  """Returns the record of a model that is defended already.

  Args:
    spent: seconds it took.
    before: the record of the planted model.

  Raises:
    FloatingPointError: its weights are lost.
  """
  plan, name = session.plan, session.names.id(cell)
  if plan.sequela:
    models.keep(session, name, state.variables)
  counts, scoring_time = session.scorer.score(cell, state, access, backdoor)
  audit, audit_time = session.scorer.audit(cell, state, access, backdoor)
  session.workdir.findings(name, scoring.findings(state.memo))
  record = records.of_cell(
    plan,
    session.names,
    cell,
    counts,
    _sum(_sum(spent, scoring_time), audit_time),
    before=None if plan.elsewhere else before,
    clean_images=access.clean.size,
  )
  if plan.elsewhere:
    audit |= _compared(session, cell, counts, backdoor, access)
  elif plan.floor and not cell.defense.built.needs_train:
    clean = models.baseline(session, cell)
    audit |= _of_clean(session, cell, clean, access, backdoor, _FLOOR)
  learned = {"train_accuracy": before.get("train_accuracy")}
  return learned | record | audit


def _of_clean(
  session: Session,
  cell: Cell,
  clean: Params,
  access: Access,
  backdoor: Backdoor,
  names: tuple[str, ...],
) -> dict[str, float]:
  """Returns named rates of a clean model, as low as an ASR can be expected."""
  counts, _ = session.scorer.score(cell, Defended(clean), access, backdoor)
  rates = scoring.rates(counts)
  return {f"clean_{name}": rates[name] for name in names}


def _compared(
  session: Session,
  cell: Cell,
  counts: dict[str, Any],
  backdoor: Backdoor,
  access: Access,
) -> dict[str, float]:
  """Returns what triggers do in another task, and to a clean model there.

  The clean model is tuned by the same user in the same way, and scored on the
  same images.
  """
  clean = models.baseline(session, cell)
  names = *_FLOOR, "ta", "collapse"
  beside = _of_clean(session, cell, clean, access, backdoor, names)
  drop = scoring.rates(counts)["ta"] - beside["clean_ta"]
  return metrics.rates_elsewhere(counts) | beside | {"drop": drop}


def _sum(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
  return {k: v + other.get(k, 0.0) for k, v in one.items()}
