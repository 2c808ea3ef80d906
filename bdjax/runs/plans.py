"""A plan: everything a run does, ready to start, and what decides a model."""

import dataclasses
import hashlib
import json
from typing import Any, NamedTuple

from bdjax import data
from bdjax.runs import methods
from bdjax.runs.task_data import TaskData
from bdjax.types import Access, Dataset, Fit, Key, Params, Recipe, Regime, Task

LABELS = ("study",)  # what a run is for; it decides nothing in it
OVERRIDDEN = "overridden"  # dotted keys that were set over the config's file
OLD = ("protocol",)  # keys of older configs that decided nothing either
# What older configs lack.
OPTIONAL = {
  "sequela": {"name": ""},
  "train": {"match": "epochs"},
  "evaluate": {"floor": False},
  "data": {"flip": None, "draw": "fixed"},
  "downstream": {"flip": None},
  "precision": "default",
  OVERRIDDEN: (),
}
AXES = (
  *("attack.name", "regime.name", "defense.name", "sequela.name", "seeds"),
  *("sweep.axes", "sweep.width"),
)


class Plan(NamedTuple):
  """Everything a run does, ready to start."""

  config: dict[str, Any]
  info: data.Info
  train: Dataset
  test: Dataset
  model: methods.Method
  attacks: list[methods.Method]
  regimes: list[methods.Method]
  defenses: list[methods.Method]
  sequela: list[methods.Method]
  recipe: Recipe
  seeds: tuple[int, ...]
  scenario: methods.Method
  user: TaskData  # whom the model reaches; the adversary's if standalone

  @property
  def together(self) -> bool:
    """Whether cells that differ in numbers and seeds run as one program."""
    return bool(self.config["sweep"]["axes"] or self.config["sweep"]["width"])

  @property
  def precision(self) -> str:
    """What float32 products are computed in: one of `backend.PRECISIONS`."""
    return self.config["precision"]

  @property
  def floor(self) -> bool:
    """Whether cells have the ASR of a clean model after the same defense."""
    return self.config["evaluate"]["floor"] and not self.elsewhere

  @property
  def elsewhere(self) -> bool:
    """Whether models are used in another task than they were planted in."""
    return self.scenario.built.elsewhere

  @property
  def classes(self) -> int:
    """How many logits the victim has; 0 for an encoder."""
    return self.scenario.built.classes(self.info.num_classes)

  @property
  def encoder(self) -> bool:
    """Whether the victim is an encoder, without classes of its own."""
    return self.classes == 0

  def clean_victim(self, key: Key, task: Task, fit: Fit) -> Params:
    """Returns the variables of a victim trained without any backdoor."""
    return self.scenario.built.clean(key, task, fit)

  def access(self, key: Key, victim: Access, *, tuned: bool) -> Access:
    """Returns what the user has of a victim.

    Args:
      key: of a fresh head.
      victim: what a defender in the adversary's task would have.
      tuned: whether the user tunes it, or scores it as it was planted.
    """
    scenario = self.scenario.built
    reach = scenario.start if tuned else scenario.look
    return reach(key, victim, self.user.info.num_classes)

  def scored(self, *, tuned: bool) -> TaskData:
    """Returns the task whose test set scores a model.

    Args:
      tuned: whether it is the user's, or the victim as it was planted.
    """
    if tuned or self.encoder:
      return self.user
    return TaskData(self.info, self.train, self.test)


def completed(config: dict[str, Any]) -> dict[str, Any]:
  """Returns a config with the keys that older ones lack."""
  return config | {
    key: default | given
    if isinstance(given := config.get(key, default), dict)
    and isinstance(default, dict)
    else given
    for key, default in OPTIONAL.items()
  }


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
  """Returns a nested dict as one level with dotted keys."""
  leaves = {}
  for key, value in tree.items():
    if isinstance(value, dict):
      leaves |= flat(value, f"{prefix}{key}.")
    else:
      leaves[prefix + key] = value
  return leaves


def digest(value: Any) -> str:
  """Returns a short hash of a JSON-able value."""
  text = json.dumps(value, sort_keys=True, default=str)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def regimes_of(plan: Plan, attack: methods.Method) -> list[methods.Method]:
  """Returns the regimes that apply: one that trains nothing has only one."""
  if attack.built.trains:
    return plan.regimes
  return [regime for regime in plan.regimes if regime.built == Regime()]


def attack_key(
  plan: Plan, attack: methods.Method, regime: methods.Method, seed: int
) -> dict[str, Any]:
  """Returns what decides a planted model, as JSON-able values.

  A classifier is planted in the same way whatever becomes of it.
  """
  scenario = "standalone"
  if plan.encoder:
    scenario = [plan.scenario.name, plan.scenario.args]
  key = {
    "data": plan.info.name,
    "model": [plan.model.label, plan.model.args],
    "attack": [attack.name, attack.args],
    "regime": regime.args | {"kind": regime.label.partition("(")[0]},
    "train": dataclasses.asdict(plan.recipe),
    "augment": {"crop": plan.info.crop, "flip": plan.info.flip},
    "scenario": scenario,
    "seed": seed,
  }
  if plan.precision != "default":
    key["precision"] = plan.precision
  if not regime.built.extra:
    key["match"] = "steps"
  return key


def identity(config: dict[str, Any]) -> dict[str, Any]:
  """Returns the part of a config that one workdir holds to.

  Attacks, regimes, defenses and seeds may be added by a later run.
  """
  ignored = (*AXES, *LABELS, *OLD, OVERRIDDEN)
  return {k: v for k, v in flat(completed(config)).items() if k not in ignored}
