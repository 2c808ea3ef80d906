"""Reads a config into a plan: what to run, checked before anything starts.

A config's sections are `data model attack regime train defense sequela
evaluate`, and `scenario` and `seeds` beside them; `configs/base.py` explains
each key. What `attack`, `regime`, `model`, `defense` and `sequela` hold beside
`name` are arguments of the methods named there; None means a method's own
default.
"""

import functools
from typing import Any

from bdjax.methods import signature, specs
from bdjax.runs import (
  checks,
  keys,
  methods,
  plans,
  regimes,
  rehearsal,
  sources,
  task_data,
)
from bdjax.runs.methods import Method
from bdjax.runs.task_data import TaskData
from bdjax.types import Recipe


def plan(
  config: dict[str, Any],
  overridden: frozenset[str] = frozenset(),
  own: TaskData | None = None,
) -> plans.Plan:
  """Returns the plan of a config.

  Args:
    config: its sections as nested dicts.
    overridden: dotted keys that the user gave on the command line, beside
      those that the config of an earlier run holds.
    own: the adversary's data; None loads what the config names.

  Raises:
    ValueError: one sentence that names the key, its value and the remedy.
  """
  config = plans.completed(config)
  keys.check(config)
  overridden |= frozenset(config[plans.OVERRIDDEN])
  config[plans.OVERRIDDEN] = sorted(overridden)
  with sources.named("scenario"):
    scenario = methods.scenario(config["scenario"])
  seed = keys.seeds(config["seeds"])[0]
  source = own or task_data.source(config, seed)
  user = task_data.user(config, scenario, source, seed)
  result = built(config, overridden, scenario, source, user)
  _check_axes(result)
  _check_repeated(result)
  checks.fits(result.recipe.batch_size, result.train.size)
  _check_scenario(result)
  regimes.check(result)
  _check_defenses(result)
  checks.sequela(result)
  rehearsal.check(result)
  return result


def by_seed(plan: plans.Plan) -> list[plans.Plan]:
  """Returns plans to run one after another: one, unless seeds draw images.

  Args:
    plan: its images are those of its first seed.

  Raises:
    ValueError: a seed's training images lack a class.
  """
  sections = ("data", "downstream")
  if not any(task_data.drawn(plan.config, name) for name in sections):
    return [plan]
  first, *others = plan.seeds
  return [plan._replace(seeds=(first,)), *(_drawn(plan, s) for s in others)]


def _drawn(plan: plans.Plan, seed: int) -> plans.Plan:
  """Returns a plan of one seed, with its images."""
  config, source = plan.config, TaskData(plan.info, plan.train, plan.test)
  if task_data.drawn(config, "data"):
    source = task_data.source(config, seed)
  user = plan.user
  if not plan.elsewhere or task_data.drawn(config, "downstream"):
    user = task_data.user(config, plan.scenario, source, seed)
  return plan._replace(train=source.train, user=user, seeds=(seed,))


def built(
  config: dict[str, Any],
  overridden: frozenset[str],
  scenario: Method,
  source: TaskData,
  user: TaskData,
) -> plans.Plan:
  """Returns the plan of a config whose data is loaded."""
  classes = scenario.built.classes(source.info.num_classes)
  with sources.named("model.name"):
    model = methods.model(config["model"], source.info, classes)
  facts = {"mean": source.info.mean, "std": source.info.std}
  users = facts | {"num_classes": user.info.num_classes}
  victims = facts | {"num_classes": classes or user.info.num_classes}
  build = functools.partial(_methods, config, overridden)
  attacks = build("attacks", "attack", victims)
  if not attacks:
    raise ValueError(
      f"attack.name is {config['attack']['name']!r}, but must name an attack: "
      "clean plants no backdoor."
    )
  defenses = build("defenses", "defense", users, methods.DEFENDER)
  asked = bool(config["sequela"]["name"])
  recipe = dict(config["train"])
  match = recipe.pop("match")
  with sources.named("regime.name"):
    several = regimes.of(config["regime"], match, recipe["batch_size"], victims)
  return plans.Plan(
    config=config,
    info=source.info,
    train=source.train,
    test=source.test,
    model=model,
    attacks=attacks,
    regimes=several,
    defenses=[methods.holding(d, config["defense"]) for d in defenses],
    sequela=build("sequela", "sequela", users) if asked else [],
    recipe=Recipe(**recipe),
    seeds=keys.seeds(config["seeds"]),
    scenario=scenario,
    user=user,
  )


def _methods(
  config: dict[str, Any],
  overridden: frozenset[str],
  kind: str,
  section: str,
  facts: dict[str, Any],
  reserved: tuple[str, ...] = (),
) -> list[Method]:
  given = {k.partition(".")[2] for k in overridden if k.startswith(section)}
  axes = _axes(config)
  with sources.named(f"{section}.name"):
    return methods.methods(
      kind,
      config[section],
      facts,
      reserved=reserved,
      overridden=frozenset(given),
      axes=axes,
    )


def _axes(config: dict[str, Any]) -> dict[str, tuple]:
  with sources.named("sweep.axes"):
    return specs.axes(config["sweep"]["axes"] or "")


def _check_axes(plan: plans.Plan) -> None:
  arguments = {k for m in (*plan.attacks, *plan.defenses) for k in m.args}
  for name in _axes(plan.config):
    if name not in arguments:
      raise ValueError(
        f"sweep.axes: no attack or defense here takes {name}: "
        f"{signature.nearest(name, arguments)}"
      )


def _check_repeated(plan: plans.Plan) -> None:
  """Refuses a method that is there twice, by whatever text: it counts once."""
  for section, several in (
    ("attack", plan.attacks),
    ("regime", plan.regimes),
    ("defense", plan.defenses),
    ("sequela", plan.sequela),
  ):
    labels: dict[str, str] = {}
    for method in several:
      about = plans.digest([method.name, method.args, method.holding])
      if about in labels:
        raise ValueError(
          f"{section}.name has {labels[about]} and {method.label}, which are "
          "the same: leave one out."
        )
      labels[about] = method.label


def _check_scenario(plan: plans.Plan) -> None:
  """Refuses attacks that mean nothing where the model is used."""
  for attack in plan.attacks:
    if plan.encoder and not attack.built.encoder:
      raise ValueError(
        f"{attack.label} needs the victim's logits, but the scenario "
        f"{plan.scenario.label} plants an encoder: use badencoder or ctrl."
      )
    if plan.elsewhere and attack.args.get("mode") == "all2all":
      raise ValueError(
        f"{attack.source.key('mode')} is 'all2all', but the user of the "
        f"scenario {plan.scenario.label} has classes of their own, of which "
        "none is the next one of the adversary's: give all2one."
      )


def _check_defenses(plan: plans.Plan) -> None:
  for defense in plan.defenses:
    if plan.elsewhere and defense.built.needs_train:
      raise ValueError(
        f"{defense.label} needs the training set, which the user of the "
        f"scenario {plan.scenario.label} has not: leave it out, or use the "
        "scenario standalone."
      )
    if plan.elsewhere and not defense.built.tunes:
      raise ValueError(
        f"{defense.label} trains nothing, so that the new head of the scenario "
        f"{plan.scenario.label} would know nothing: leave it out, or use the "
        "scenario standalone."
      )
