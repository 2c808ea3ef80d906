"""What a cell is, what decides it, and what is recorded of it."""

import datetime
import functools
import json
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bdjax import data
from bdjax.machine import environment, programs
from bdjax.methods import specs
from bdjax.report.results import CLEAN_MODEL, Record
from bdjax.runs import evaluate, experiment, plans
from bdjax.runs.methods import Method
from bdjax.training import metrics
from bdjax.types import Backdoor, Key

PICTURES = 6  # test images shown per planted model
_POISON = ("attack", "regime")  # what a clean classifier does not depend on
_SWEPT = ("attack", "defense")  # sections whose methods may have several values
_INJECTION = ("train", "examples")  # nor a clean encoder, on these either
BEFORE = ("ca_before", "asr_before", "ra_before")


class Cell(NamedTuple):
  """One cell of a plan; a defense of None scores the undefended model."""

  attack: Method
  regime: Method
  seed: int
  defense: Method | None

  def __str__(self) -> str:
    """Returns the cell as the user reads it."""
    step = self.defense.label if self.defense else "plant"
    return " · ".join(
      (self.attack.label, self.regime.label, f"seed {self.seed}", step)
    )

  @property
  def root(self) -> "Cell":
    """The cell of the undefended model."""
    return self._replace(defense=None)

  @property
  def key(self) -> Key:
    """The key that all of the cell's randomness follows from."""
    return jax.random.key(self.seed)


class Book:
  """Names a plan's cells and writes their records."""

  def __init__(self, plan: plans.Plan):
    """Looks at what the plan runs on, once."""
    self._plan = plan
    self._where = environment.describe()
    prints = {}
    for name, found in (("source", plan), ("user", plan.user)):
      both = (found.train, found.test)
      prints[name] = [data.fingerprint(part) for part in both]
    self._prints = prints

  def cells(self) -> list[Cell]:
    """Returns the plan's cells, each model before its defenses."""
    plan = self._plan
    return [
      Cell(attack, regime, seed, defense)
      for seed in plan.seeds
      for attack in plan.attacks
      for regime in plans.regimes_of(plan, attack)
      for defense in [None, *plan.defenses]
    ]

  def key(self, cell: Cell) -> dict[str, Any]:
    """Returns all that decides a cell's planted model."""
    key = plans.attack_key(self._plan, cell.attack, cell.regime, cell.seed)
    key["fingerprint"] = self._prints["source"][0]
    if self._plan.encoder:  # the reference comes from the user's task
      key["examples"] = self._prints["user"]
    return json.loads(json.dumps(key))

  def planted(self, cell: Cell) -> str:
    """Returns the name of a cell's planted model."""
    return plans.digest(self.key(cell))

  def clean(self, cell: Cell) -> str:
    """Returns the name of the clean classifier of a cell's seed."""
    ignored = _POISON + (_INJECTION if self._plan.encoder else ())
    about = {k: v for k, v in self.key(cell).items() if k not in ignored}
    return plans.digest(["clean", about])

  def baseline(self, cell: Cell) -> str:
    """Returns the name of the clean model that a cell's user would tune."""
    return plans.digest(["baseline", self.clean(cell), *self._tuning(cell)])

  def shadow(self, cell: Cell) -> str:
    """Returns the name of the shadow model of a cell's seed."""
    return plans.digest(["shadow", self.clean(cell)])

  def unplanted(self, cell: Cell) -> str:
    """Returns the name of a seed's clean model as the test set asks it."""
    return plans.digest([self.clean(cell), self._prints["source"][1]])

  def id(self, cell: Cell) -> str:
    """Returns the name of a cell."""
    test, *tuning = self._tuning(cell)
    return plans.digest([self.key(cell), test, *tuning])

  def _tuning(self, cell: Cell) -> list[Any]:
    """Returns what a cell is scored on, and what decides how it was tuned."""
    own, plan = cell.defense, self._plan
    defense = [own.label, own.args, own.holding] if own else ["none"]
    test = self._prints["source"][1]
    if not plan.scenario.made.elsewhere or (own is None and not plan.encoder):
      return [test, defense]
    user = {"user": self._prints["user"], "scenario": plan.scenario.args}
    augmented = {"crop": plan.user.info.crop, "flip": plan.user.info.flip}
    return [test, defense, user | augmented]

  def record(
    self,
    cell: Cell,
    counts: dict[str, int],
    spent: dict[str, float],
    *,
    before: dict[str, float] | None,
    clean_images: int,
  ) -> Record:
    """Returns a finished cell's record.

    Args:
      cell: the cell.
      counts: of its model's answers; see `metrics.counts`.
      spent: seconds of compile, train and eval.
      before: what the undefended model reached; None where that was another
        task.
      clean_images: how many the defender held.
    """
    rates, der = metrics.rates(counts), None
    if before is None:
      before = dict.fromkeys(BEFORE)
    else:
      before = {k: before[k] for k in BEFORE}
      der = metrics.defense_effectiveness(
        ca_before=before["ca_before"],
        asr_before=before["asr_before"],
        ca=rates["ca"],
        asr=rates["asr"],
      )
    return {
      "cell": self.id(cell),
      "planted": self.planted(cell),
      "attack": cell.attack.label,
      "regime": cell.regime.label,
      "defense": cell.defense.label if cell.defense else "none",
      "seed": cell.seed,
      **before,
      **rates,
      "der": None if der is None else float(der),
      **{f"seconds_{k}": spent[k] for k in ("compile", "train", "eval")},
      "device_hours": spent["train"] * self._where["devices"] / 3600,
      "test_images": counts["images"],
      "triggered_images": counts["triggered"],
      "clean_images": clean_images,
      **self._settings(cell),
      "poison_rate": cell.attack.args.get("rate"),
      "defense_epochs": cell.defense.args.get("epochs")
      if cell.defense
      else None,
      **self._protocol(),
      "finished": datetime.datetime.now(datetime.UTC).isoformat("T", "seconds"),
    }

  def sequel(
    self,
    cell: Cell,
    name: str,
    sequel: Method,
    found: dict[str, Any],
    spent: dict[str, float],
    *,
    clean: bool,
  ) -> Record:
    """Returns a finished sequel's record.

    Args:
      cell: whose model it is.
      name: of the sequel's cell.
      sequel: what was asked.
      found: what came out.
      spent: seconds of compile, train and eval.
      clean: whether it is the clean model of the cell's seed; attack and regime
        are None if it stays clean.
    """
    defense = cell.defense.label if cell.defense else "none"
    attacked = not clean or sequel.made.retrains
    return {
      "cell": name,
      "attack": cell.attack.label if attacked else None,
      "regime": cell.regime.label if attacked else None,
      "defense": CLEAN_MODEL if clean else defense,
      "seed": cell.seed,
      "sequel": sequel.label,
      "kind": sequel.name,
      **found,
      **{f"seconds_{k}": v for k, v in spent.items()},
      **self._protocol(),
      "finished": datetime.datetime.now(datetime.UTC).isoformat("T", "seconds"),
    }

  def _settings(self, cell: Cell) -> Record:
    """Returns where a cell lies on the axes of a sweep."""
    args = cell.attack.args | (cell.defense.args if cell.defense else {})
    return {f"axis.{name}": _flat(args.get(name)) for name in self._axes()}

  def _axes(self) -> list[str]:
    """Returns what has several values: in sweep.axes, or in a method's text."""
    config = self._plan.config
    found = [spec for k in _SWEPT for spec in specs.parse(config[k]["name"])]
    several = {
      name: None
      for spec in found
      for name, value in spec.args.items()
      if isinstance(value, tuple | list)
    }
    return list(dict.fromkeys(specs.axes(config["sweep"]["axes"])) | several)

  def _dataset(self) -> str:
    plan = self._plan
    if not plan.scenario.made.elsewhere:
      return plan.info.name
    return f"{plan.info.name} -> {plan.user.info.name}"

  def _protocol(self) -> Record:
    plan = self._plan
    config = plans.flat(plan.config)
    return {
      "dataset": self._dataset(),
      "model": plan.model.label,
      "scenario": plan.scenario.label,
      "width": plan.model.args.get("width"),
      "train_images": plan.train.size,
      "train_epochs": plan.recipe.epochs,
      "crop": plan.info.crop,
      "fingerprint_train": self._prints["source"][0],
      "fingerprint_test": self._prints["source"][1],
      "fingerprint_user": self._prints["user"][0],
      **{f"config.{k}": _flat(v) for k, v in config.items()},
      **self._where,
    }


def _flat(value: Any) -> Any:
  return str(value) if isinstance(value, tuple | list) else value


def pictures(
  cell: Cell, backdoor: Backdoor, plan: plans.Plan
) -> dict[str, np.ndarray]:
  """Returns the first test images that the trigger should change."""
  info, _, test = plan.scored(tuned=False)
  label = np.asarray(test.label)
  wanted = np.asarray(cell.attack.made.target(test.label))
  pick = np.flatnonzero(wanted != label)[:PICTURES]
  clean = test.image[pick]
  stamp = functools.partial(evaluate.triggered, attack=cell.attack.made)
  hit = programs.jit(stamp)(
    experiment.key_for(jax.random.key(0), "pictures"),
    clean.astype(jnp.float32) / 255,
    backdoor.params,
  )
  return {
    "clean": np.asarray(clean),
    "triggered": np.asarray(jnp.round(hit * 255).astype(jnp.uint8)),
    "label": label[pick],
    "target": wanted[pick],
    "class_names": np.array(info.class_names),
  }
