"""What a defense leaves behind, asked of every model of a plan."""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bdjax.attacks.parts import poison
from bdjax.machine import programs
from bdjax.report.results import Record
from bdjax.runs import experiment, knowledge, models, plans, records, scoring
from bdjax.runs.cells import Cell
from bdjax.runs.methods import Method
from bdjax.runs.sequel_cells import SequelCell
from bdjax.runs.session import Session
from bdjax.sequela import Remains
from bdjax.sequela.parts import retraining
from bdjax.training import inference, learn, loop
from bdjax.training.journal import Journal, Row
from bdjax.types import (
  CLEAN,
  Access,
  Attack,
  Backdoor,
  Dataset,
  Defended,
  Params,
)

FOLLOWED = ("ca", "asr", "poison_accuracy")  # before and after retraining
accuracy = jax.jit(inference.accuracy, static_argnums=0)


def answer(session: Session, name: str, question: SequelCell) -> Record:
  """Returns the record of a sequel's cell.

  Raises:
    FloatingPointError: training has diverged.
    ValueError: the sequel cannot be asked of this model, and says why.
  """
  remains = _remains(session, question)
  if question.retrains:
    outcome, spent = _retrain(session, name, question, remains)
  else:
    outcome, spent = _look(session, name, question, remains)
  return records.of_sequel(
    session.plan, session.names, name, question, outcome, spent
  )


def _look(
  session: Session, name: str, question: SequelCell, remains: Remains
) -> tuple[dict[str, Any], dict[str, float]]:
  """Returns a sequel's numbers of a model as it is, and the seconds."""
  journal = Journal()
  start = time.perf_counter()
  fit = session.fit(name, journal=journal)
  numbers = dict(question.outcome(remains, fit).numbers)
  numbers = jax.tree.map(lambda x: np.asarray(x).item(), numbers)
  wall = time.perf_counter() - start
  spent = {k: journal.total(f"seconds_{k}") for k in ("compile", "train")}
  return numbers, spent | {"eval": max(0.0, wall - sum(spent.values()))}


# What is asked.


def _remains(session: Session, question: SequelCell) -> Remains:
  plan, cell = session.plan, question.cell
  poisoned, hit = plan.train, plan.test
  role = jnp.full(plan.train.size, CLEAN, jnp.int8)
  if question.planted:
    backdoor = models.backdoor(session, cell)
    poisoned, role = backdoor.train, backdoor.role
    if not question.retrains:
      hit = triggered(plan.test, backdoor, cell.attack.built)
  remains = Remains(
    _variables(session, question),
    plan.train,
    plan.test,
    knowledge.tuned(plan, cell),
    poisoned,
    role,
    hit,
    learned=_learned(session, cell, question.sequel),
    model=plan.model.built,
    view=knowledge.view(plan.info),
  )
  if not question.sequel.built.lures:
    return remains
  return remains.replace(
    lure=triggered(plan.train, backdoor, cell.attack.built),
    planted=backdoor.variables,
    unplanted=models.clean(session, cell),
  )


def _variables(session: Session, question: SequelCell) -> Params:
  cell = question.cell
  if cell.defense is None:
    if question.clean:
      return models.clean(session, cell)
    return models.backdoor(session, cell).variables
  held = models.baseline if question.clean else models.defended
  return held(session, cell)


def _learned(session: Session, cell: Cell, sequel: Method) -> Params:
  """Returns what a sequel has learned from the seed's shadow model."""
  if sequel.built.prepare is None:
    return ()
  about = [session.names.shadow(cell), sequel.name, sequel.args]
  name = plans.digest(["learned", *about])
  if name not in session.lessons:
    session.lessons[name] = _learn(session, name, cell, sequel)
  return session.lessons[name]


def _learn(session: Session, name: str, cell: Cell, sequel: Method) -> Params:
  shadow = models.shadow(session, cell)
  key = experiment.key_for(cell.key, f"{sequel.name} shadow")

  def like():
    return jax.eval_shape(
      lambda shadow: sequel.built.prepare(key, shadow, loop.scan_fit), shadow
    )

  def prepare(fit):
    return sequel.built.prepare(key, shadow, fit)

  # Thresholds of what no image reaches may be infinite.
  return models.kept(session, name, prepare, like=like, check=False)


# Training poisons back in.


def _retrain(
  session: Session, name: str, question: SequelCell, remains: Remains
) -> tuple[dict[str, Any], dict[str, float]]:
  """Returns how soon the backdoor is back, and the seconds it took."""
  journal = Journal()
  poisons = retraining.poisons(remains.poisoned, remains.role)
  backdoor = models.backdoor(session, question.cell)

  def rate(variables: Params) -> Row:
    return _rates(session, question.cell, variables, backdoor, poisons)

  def probe(stage, done, epochs, state, params):
    del stage, done, epochs, params
    return rate(learn.classifiers(state)[0].variables)

  fit = session.fit(name, journal=journal, probe=loop.Probe(probe))
  start = time.perf_counter()
  before = rate(remains.variables)
  scored = time.perf_counter()
  journal.begin()
  jax.block_until_ready(question.outcome(remains, fit).variables)
  spent = journal.spent()
  spent["eval"] += scored - start
  stage = journal.rows[0]["stage"]
  journal.rows.insert(0, {"stage": stage, "epoch": 0} | before)
  session.workdir.curves(name, journal)
  return _relapse(journal.rows, poisons.size), spent


def _rates(
  session: Session,
  cell: Cell,
  variables: Params,
  backdoor: Backdoor,
  poisons: Dataset,
) -> Row:
  """Returns rates over the whole test set, and accuracy on the poisons."""
  model, scorer = session.plan.model.built, session.scorer
  counts, _ = scorer.score(
    cell.root, Defended(variables), Access(None, model=model), backdoor
  )
  right = accuracy(model, *scorer.spread((variables, poisons)))
  return scoring.rates(counts) | {"poison_accuracy": float(right)}


def triggered(data: Dataset, backdoor: Backdoor, attack: Attack) -> Dataset:
  """Returns clean images with the trigger, labelled as the adversary wants."""

  @programs.jit
  def stamp(data, params):
    def stamped(batch):
      key = jax.random.fold_in(jax.random.key(0), batch.index[0])
      return poison.to_bytes(attack.trigger(key, batch.image, params))

    return inference.each(data, stamped)

  labels = attack.target(data.label).astype(data.label.dtype)
  return Dataset(stamp(data, backdoor.params), labels)


def _relapse(rows: list[Row], poisons: int) -> dict[str, Any]:
  first, last = rows[0], rows[-1]
  relapse = retraining.relapse([row["asr"] for row in rows])
  return {
    **{f"{k}_before": first[k] for k in FOLLOWED},
    **{k: last[k] for k in FOLLOWED},
    **relapse._asdict(),
    "epochs": len(rows) - 1,
    "poisons": poisons,
  }


def said(record: Record) -> str:
  """Returns a finished sequel in a line."""
  if "reactivated" in record:
    return f"ASR {record['asr_before']:.4f} -> {record['reactivated']:.4f}"
  if "area" in record:
    return f"ASR {record['asr_before']:.4f} -> {record['asr']:.4f}"
  auroc = record.get("mentropy_by_class.members.auroc")
  return "" if auroc is None else f"AUROC of members {auroc:.4f}"
