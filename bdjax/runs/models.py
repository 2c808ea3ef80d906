"""Models of a plan: planted, clean, defended ones, each trained once and kept.

They lie in the workdir's store under names of what decides them, so that cells
and later runs share them.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from bdjax.runs import experiment, knowledge, records
from bdjax.runs.cells import Cell
from bdjax.runs.session import Session
from bdjax.sequela import Shadow
from bdjax.training import checkpoint, finite, loop, sequential
from bdjax.training.journal import Journal, Row
from bdjax.types import Backdoor, Fit, Params, Regime


class Planting(NamedTuple):
  """How a model was planted.

  Attributes:
    spent: seconds of its training's parts.
    train_accuracy: that it reached on what it was trained on, the mean over
      the last epochs of all turns, but for a second stage; None where none is
      known.
    where: on which devices; empty where that is not known.
  """

  spent: dict[str, float]
  train_accuracy: float | None
  where: dict[str, Any]


def backdoor(session: Session, cell: Cell) -> Backdoor:
  """Returns a cell's planted model, planting it if need be."""
  name = session.names.planted(cell)
  if session.planted is None or session.planted[0] != name:
    session.planted = None  # frees the previous model
    plant = functools.partial(_plant, session, cell)
    like = functools.partial(_shapes, session, cell)
    session.planted = name, _once(session, name, plant, like=like)
  return session.planted[1]


def planted(session: Session, cell: Cell) -> bool:
  """Returns whether the store holds a cell's planted model."""
  return checkpoint.exists(session.workdir.model(session.names.planted(cell)))


def keep_backdoor(
  session: Session,
  cell: Cell,
  backdoor: Backdoor,
  spent: dict[str, float],
  journal: Journal,
) -> None:
  """Puts a planted model in the store, with the seconds it took.

  Args:
    spent: seconds of its training's parts.

  Raises:
    FloatingPointError: its training, or its trigger's, has diverged.
  """
  finite.check((backdoor.variables, backdoor.params))
  note = {"key": session.names.key(cell), "spent": spent}
  note["where"] = records.where()
  note["train_accuracy"] = _learned(journal.rows, cell.regime.built)
  _keep(session, session.names.planted(cell), backdoor, note)


def planting(session: Session, cell: Cell) -> Planting:
  """Returns what is known of how a cell's stored model was planted."""
  path = session.workdir.model(session.names.planted(cell))
  note = checkpoint.note(path)
  return Planting(
    note["spent"], note.get("train_accuracy"), note.get("where", {})
  )


def _learned(rows: list[Row], regime: Regime) -> float | None:
  turns = len(regime.turns(0, 1))
  if regime.second is not None:  # what comes behind stage 1 sees no poison
    rows = [row for row in rows if row["stage"] not in sequential.STAGES]
    turns = 1
  last = rows[-turns:]
  values = [row["accuracy"] for row in last if "accuracy" in row]
  return sum(values) / len(values) if values else None


def _shapes(session: Session, cell: Cell) -> Backdoor:
  task, _ = knowledge.traced(session.plan, cell)
  attack, fit = cell.attack.built, loop.scan_fit
  return jax.eval_shape(
    lambda task: experiment.plant(cell.key, attack, task, fit), task
  )


def _plant(session: Session, cell: Cell) -> Backdoor:
  name, journal = session.names.planted(cell), Journal()

  def clean_victim(fit):
    del fit  # the attack's: its stages and its time are not this model's
    with journal.counted():
      return clean(session, cell)

  task = knowledge.adversary(session.plan, cell).replace(clean=clean_victim)
  probe = session.scorer.watch(cell)
  fit = session.fit(name, journal=journal, probe=probe)
  journal.begin()
  backdoor = experiment.plant(cell.key, cell.attack.built, task, fit)
  jax.block_until_ready(backdoor)
  seconds = journal.spent()
  session.workdir.curves(name, journal)
  keep_backdoor(session, cell, backdoor, seconds, journal)
  session.workdir.stages(name).clear()
  return backdoor


def clean(session: Session, cell: Cell) -> Params:
  """Returns the seed's clean victim, kept for all attacks and runs."""
  train = functools.partial(session.plan.clean_victim, cell.key)
  task = knowledge.adversary(session.plan, cell)
  return kept(
    session,
    session.names.clean(cell),
    lambda fit: train(task, fit),
    like=lambda: jax.eval_shape(lambda t: train(t, loop.scan_fit), task),
  )


def baseline(session: Session, cell: Cell) -> Params:
  """Returns the seed's clean model as a cell's user tunes it.

  Args:
    cell: one whose defense needs no training set; its user holds the same clean
      images as beside the planted model.
  """
  unplanted = Backdoor(clean(session, cell), (), None, None)
  access = knowledge.user(session.plan, cell, unplanted)
  return kept(
    session,
    session.names.baseline(cell),
    functools.partial(_defend, session, cell, unplanted),
    like=lambda: access.variables,
  )


def shadow(session: Session, cell: Cell) -> Shadow:
  """Returns the seed's shadow model, kept for all sequela and runs."""
  plan, task = session.plan, knowledge.shadow(session.plan, cell)
  key = experiment.key_for(cell.key, "shadow")
  train = functools.partial(experiment.clean_model, key, task)
  variables = kept(
    session,
    session.names.shadow(cell),
    train,
    like=lambda: jax.eval_shape(lambda: train(loop.scan_fit)),
  )
  member = knowledge.shadowed(plan, cell)
  return Shadow(variables, plan.train, member, model=plan.model.built)


def defended(session: Session, cell: Cell) -> Params:
  """Returns a cell's defended model, repairing it again if it was not kept.

  It was not kept if its cell was finished before sequela were asked for.
  """
  planted_model = backdoor(session, cell)
  return kept(
    session,
    session.names.id(cell),
    functools.partial(_defend, session, cell, planted_model),
    like=lambda: planted_model.variables,
  )


def _defend(
  session: Session, cell: Cell, backdoor: Backdoor, fit: Fit
) -> Params:
  access = knowledge.user(session.plan, cell, backdoor)
  return experiment.defend(cell.key, cell.defense.built, access, fit).variables


def keep(session: Session, name: str, variables: Params) -> None:
  """Puts a model in the store, for `kept`.

  Raises:
    FloatingPointError: its training has diverged.
  """
  finite.check(variables)
  _keep(session, name, variables, {})


def _keep(session: Session, name: str, tree: Any, note: dict[str, Any]) -> None:
  """Puts a tree in the store, unless another run has been quicker."""
  path = session.workdir.model(name)
  with session.workdir.reserved(name):
    if not checkpoint.exists(path):
      checkpoint.save(path, tree, note=note)


def kept(
  session: Session,
  name: str,
  train: Callable[[Fit], Params],
  *,
  like: Callable[[], Params],
  check: bool = True,
) -> Params:
  """Returns the result of a training, from the store if it is there.

  Args:
    name: in the store.
    like: shapes of what it gives.
    check: whether that is a model, whose numbers must be finite.

  Raises:
    FloatingPointError: they are not.
  """

  def make():
    variables = train(session.fit(name))
    if check:
      finite.check(variables)
    _keep(session, name, variables, {})
    session.workdir.stages(name).clear()
    return variables

  return _once(session, name, make, like=like)


def _once(
  session: Session,
  name: str,
  make: Callable[[], Any],
  *,
  like: Callable[[], Any],
) -> Any:
  """Returns what the store holds, made first if it is damaged or not there.

  Of several runs on one store, one makes it and the others wait.
  """
  path, shapes = session.workdir.model(name), session.shapes

  def known() -> Any:
    if name not in shapes:
      shapes[name] = _shaped(like())
    return shapes[name]

  with contextlib.suppress(checkpoint.Damaged):
    if checkpoint.exists(path):
      return checkpoint.load(path, known())
  with session.workdir.reserved(name):
    sound = checkpoint.restore(path, known)
    if sound is not None:
      return sound
    made = make()
    shapes[name] = _shaped(made)
    return made


def _shaped(tree: Any) -> Any:
  """Returns a tree's shapes, which hold none of its memory."""
  return jax.eval_shape(lambda tree: tree, tree)
