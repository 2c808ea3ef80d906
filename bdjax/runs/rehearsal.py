"""Asks a plan's methods, before anything is trained, whether they can work.

Methods refuse models and data that they cannot work on before their first
training. So each is called on shapes alone, and left where it first trains.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import jax
import numpy as np

from bdjax.methods import registry, signature, values
from bdjax.runs import experiment, knowledge, plans
from bdjax.runs.cells import Cell
from bdjax.runs.methods import Method
from bdjax.training import adaptive, engine, learn, optimizers
from bdjax.types import Access, Dataset, Defense, Params


class _Training(Exception):
  """A method has come to its first training."""


def check(plan: plans.Plan) -> None:
  """Refuses a plan with a method that cannot work in it.

  Raises:
    ValueError: one sentence that names the method and the remedy.
  """
  victim = _victim(plan)
  for regime in plan.regimes:
    _rehearse((regime,), functools.partial(_wrap, regime), victim)
    _rehearse_turn(plan, regime, victim)
  for attack in plan.attacks:
    for regime in plans.regimes_of(plan, attack):
      both, planted = (attack, regime), (plan, attack, regime)
      _rehearse(both, functools.partial(_plant, *planted))
  _check_test(plan)
  if not plan.defenses:
    return
  kinds = {_kind(plan, defense): defense for defense in reversed(plan.defenses)}
  for defense in reversed(kinds.values()):
    _rehearse((defense,), functools.partial(_defend, plan, defense), victim)


def _kind(plan: plans.Plan, defense: Method) -> str:
  """Returns what decides whether a defense can work: no number of a sweep."""
  fixed = {k: v for k, v in defense.args.items() if k not in defense.numbers}
  return plans.digest([defense.name, fixed, _clean(plan, defense)])


def _rehearse(
  several: Sequence[Method], work: Callable[..., Any], *args: Params
) -> None:
  """Refuses a method that cannot work with others, whose keys it may name."""
  try:
    jax.eval_shape(work, *args)
  except _Training:
    pass
  except ValueError as error:
    reason = " ".join(str(error).split())
    at_fault = several[0]
    for method in several:
      worded = method.source.worded(reason, method.args)
      if worded != reason:
        reason, at_fault = worded, method
    raise ValueError(f"{at_fault.label} cannot work here: {reason}") from error
  except Exception:  # what is faulty fails by itself when it runs
    pass


def _train(*args: Any, **options: Any) -> NoReturn:
  raise _Training


def _wrap(regime: Method, variables: Params) -> None:
  if regime.built.wrap is not None:
    wrapped = regime.remake().wrap(optimizers.sgd(1.0), 1)
    learn.begun(variables, wrapped)


def _rehearse_turn(plan: plans.Plan, regime: Method, victim: Params) -> None:
  """Refuses a defense that no clean turn can be, and names those that can."""
  turn = regime.built.against
  if turn is None:
    return
  try:
    jax.eval_shape(functools.partial(_open, plan, turn.defense), victim)
  except adaptive.Unsuited as fault:
    suited = [x for x in registry.names("defenses") if _suits(plan, x, victim)]
    raise ValueError(
      f"{regime.label}: a clean turn cannot be this defense, since {fault}; it "
      f"can be {', '.join(suited)}."
    ) from None


def _open(plan: plans.Plan, defense: Defense, variables: Params) -> None:
  view = knowledge.view(plan.info)
  access = adaptive.shapes_of(plan.train, plan.model.built, view)
  key = jax.random.key(0)
  adaptive.opening(defense, key, access.replace(variables=variables))


def _suits(plan: plans.Plan, name: str, victim: Params) -> bool:
  make = registry.get("defenses", name)
  own = {"batch_size": 1} if "batch_size" in signature.arguments(make) else {}
  try:
    jax.eval_shape(functools.partial(_open, plan, make(**own)), victim)
  except ValueError:
    return False
  return True


def _plant(plan: plans.Plan, attack: Method, regime: Method) -> None:
  cell = Cell(attack, regime, 0, None)
  task = knowledge.adversary(plan, cell)
  task = task.replace(clean=_train, recipe=plan.recipe)
  experiment.plant(cell.key, attack.remake(), task, _train)


def _check_test(plan: plans.Plan) -> None:
  """Refuses a test set on which an attack's success is 0 of 0 images."""
  if plan.elsewhere:
    return
  label = plan.test.label
  for attack in plan.attacks:
    if not (attack.built.target(label) != label).any():
      raise ValueError(
        f"data.test_images is {plan.test.size}, which leaves {attack.label} no "
        "image of a class other than its target: give more, or None for all."
      )


def _victim(plan: plans.Plan) -> Params:
  """Returns the shapes of a planted model's variables."""
  return jax.eval_shape(
    lambda key: learn.init_variables(key, plan.train, model=plan.model.built),
    jax.random.key(0),
  )


def _clean(plan: plans.Plan, defense: Method) -> int:
  """Returns how many clean images a defender holds.

  Raises:
    ValueError: fewer than there are classes, or too few of a class.
  """
  classes, train = plan.user.info.num_classes, plan.user.train
  rate, balanced = defense.holding
  count = rate * train.size
  size = round(count / classes) * classes if balanced else round(count)
  if size < classes:
    raise ValueError(
      f"{defense.source.key('clean_rate')} is {rate:g}, which of {train.size} "
      f"images leaves {defense.label} {size}, but the data has {classes} "
      "classes: give at least "
      f"{values.rounded_up(classes / train.size):g}, or load more images."
    )
  if balanced:  # there may be too few of a class
    places = Dataset(np.arange(train.size), np.asarray(train.label))
    experiment.clean_subset(jax.random.key(0), places, defense.holding)
  return size


def _defend(plan: plans.Plan, defense: Method, variables: Params) -> None:
  size = _clean(plan, defense)
  key = jax.random.key(0)
  access = Access(
    variables=variables,
    clean=jax.tree.map(lambda x: x[:size], plan.user.train),
    train=plan.train,
    model=plan.model.built,
    view=knowledge.view(plan.user.info),
    recipe=plan.recipe,
  )
  access = plan.access(key, access, tuned=True)
  try:
    experiment.defend(key, defense.remake(), access, _train)
  except engine.TooFew as few:
    if few.size != size or few.batch_size > plan.user.train.size:
      raise
    share = values.rounded_up(few.batch_size / plan.user.train.size)
    raise ValueError(
      f"batch_size is {few.batch_size}, but the defender has {size} clean "
      f"images: give a smaller one, or {defense.source.key('clean_rate')} of "
      f"at least {share:g}."
    ) from few
