"""Builds the regimes of a config, and the defenses that they rehearse.

And refuses those that a plan cannot have, before anything is trained.
"""

from typing import Any

from bdjax.methods import registry, signature, specs
from bdjax.runs import methods, plans
from bdjax.runs.methods import Method
from bdjax.runs.sources import Source
from bdjax.training import adaptive, budget, regimes
from bdjax.types import Recipe, Regime

OF_TURNS = ("epochs", "batch_size")  # of a defense: those of its turn


def of(
  section: dict[str, Any], match: str, batch_size: int, facts: dict[str, Any]
) -> list[Method]:
  """Builds the regimes of a section.

  Args:
    section: `name` and arguments.
    match: what all of them have equal; see `budget.matched`.
    batch_size: of the adversary's training.
    facts: arguments of a defense that follow from the data.
  """
  built = []
  for spec in specs.parse(section["name"]):
    if spec.name not in regimes.REGIMES:
      raise ValueError(
        f"unknown regime {spec.name!r}: "
        f"{signature.nearest(spec.name, regimes.REGIMES)}"
      )
    make = regimes.REGIMES[spec.name]
    schema = signature.arguments(make)
    if spec.preset is not None:
      raise ValueError(
        f"{spec.name} has no preset {spec.preset!r}: known are none."
      )
    options = {k: v for k, v in section.items() if k in schema} | spec.args
    options = {k: v for k, v in options.items() if v is not None}
    source = Source("regime", spec, frozenset(section) - {"name"})
    method = methods.build(make, spec, options, source=source)
    regime = budget.matched(_opposed(method.built, batch_size, facts), match)
    built.append(method._replace(built=regime))
  if not built:
    raise ValueError(
      f"regime.name is {section['name']!r}, but must name a regime: "
      "conventional, say."
    )
  return built


def _opposed(regime: Regime, batch_size: int, facts: dict[str, Any]) -> Regime:
  """Returns a regime with the defense that it names."""
  if regime.against is None:
    return regime
  named = specs.parse(regime.against)
  if len(named) != 1 or str(named[0]) == "none":
    raise ValueError(
      f"adaptive.defense is {regime.against!r}, but must name one defense: "
      "ft_sam, say, or 'super_ft(phase1_epochs=1)'."
    )
  (spec,) = named
  for name in OF_TURNS:
    if name in spec.args:
      raise ValueError(
        f"adaptive.defense is {regime.against!r}, but its {name} are the "
        "turn's: leave them out, and give turn or train.batch_size."
      )
  for name in methods.DEFENDER:
    if name in spec.args:
      raise ValueError(
        f"adaptive.defense is {regime.against!r}, but no turn heeds its "
        f"{name}: it shows the adversary's own clean images; leave it out."
      )
  schema = signature.arguments(registry.get("defenses", spec.name))
  turn = {"epochs": regime.turn, "batch_size": batch_size}
  own = spec.args | {k: v for k, v in turn.items() if k in schema}
  section = {"name": str(spec._replace(args=own))}
  try:
    built = methods.methods(
      "defenses", section, facts, reserved=methods.DEFENDER
    )
  except ValueError as error:
    text = str(error).replace("defense.name=", "adaptive.defense=")
    raise ValueError(text) from error
  if len(built) != 1:
    raise ValueError(
      f"adaptive.defense is {regime.against!r}, which is {len(built)} of them: "
      "name one."
    )
  return regime._replace(against=adaptive.Turn(built[0].built, regime.turn))


def check(plan: plans.Plan) -> None:
  """Refuses regimes that a plan's epochs do not fill, or its attacks cannot.

  Raises:
    ValueError: one sentence that names the method and the remedy.
  """
  for regime in plan.regimes:
    _check_epochs(plan.recipe, regime)
  for attack in plan.attacks:
    several = plans.regimes_of(plan, attack)
    for regime in several:
      _check_pair(attack, regime)
    if not several:
      raise ValueError(
        f"{attack.label} trains nothing, so regime {plan.regimes[0].label} "
        "cannot apply to it: add the regime conventional, or leave it out."
      )


def _check_epochs(recipe: Recipe, regime: Method) -> None:
  before, rest, after = budget.parts(recipe, regime.built)
  try:
    budget.planned_epochs(rest, regime.built)
  except budget.Unfilled as fault:
    if fault.epochs == recipe.epochs:
      raise
    raise ValueError(
      f"train.epochs is {recipe.epochs}, of which {regime.label} with "
      f"train.match=steps leaves {fault.epochs} for its own turns, no multiple "
      f"of {fault.turns}: give a multiple of {2 * fault.whole}, or change the "
      "regime's turn."
    ) from fault
  if (regime.built.planted and not before) or (after and rest.epochs < 1):
    raise ValueError(
      f"train.epochs is {recipe.epochs}, but {regime.label} with "
      "train.match=steps trains two models in them: give at least 2."
    )


def _check_pair(attack: Method, regime: Method) -> None:
  if regime.built.planted and not attack.built.continues:
    raise ValueError(
      f"{attack.label} trains its trigger with the victim, which "
      f"{regime.label} would start from a planted model: leave out "
      "start=planted, or one of the two."
    )
  if budget.apart(regime.built) and not attack.built.continues:
    raise ValueError(
      f"{attack.label} trains its trigger with the victim, but "
      f"{regime.label} trains the victim in a way of its own: leave out "
      "one of the two."
    )
