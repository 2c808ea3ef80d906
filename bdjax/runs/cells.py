"""What a cell is, and the names of the models that it makes."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from bdjax import data
from bdjax.report.judging import NONE
from bdjax.runs import plans
from bdjax.runs.methods import Method
from bdjax.training.pace import Kind
from bdjax.types import Key

# What a clean classifier does not depend on; equal steps are a regime's.
_POISON = ("attack", "regime", "match")
_INJECTION = ("train", "examples")  # nor a clean encoder, on these either


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
  def kind(self) -> Kind:
    """Of the cells that take about as long."""
    if self.defense:
      return Kind(self.defense.label)
    return Kind(f"{self.attack.label} · {self.regime.label}", like="plant")

  @property
  def called(self) -> tuple[str, str, str]:
    """The names of its methods, as records have them."""
    defense = self.defense.label if self.defense else NONE
    return self.attack.label, self.regime.label, defense

  @property
  def root(self) -> "Cell":
    """The cell of the undefended model."""
    return self._replace(defense=None)

  @property
  def key(self) -> Key:
    """The key that all of the cell's randomness follows from."""
    return jax.random.key(self.seed)


class Names:
  """The cells of a plan, and what they and their models are called."""

  def __init__(self, plan: plans.Plan) -> None:
    """Looks at what the plan runs on, once.

    Attributes:
      fingerprints: of the training and the test set, of the source and of the
        user.
    """
    self._plan = plan
    self._digests: dict[tuple[str, Cell], str] = {}
    self.fingerprints = {
      name: [data.fingerprint(part) for part in (owner.train, owner.test)]
      for name, owner in (("source", plan), ("user", plan.user))
    }

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
    key["fingerprint"] = self.fingerprints["source"][0]
    if self._plan.encoder:  # the reference comes from the user's task
      key["examples"] = self.fingerprints["user"]
    return json.loads(json.dumps(key))

  def planted(self, cell: Cell) -> str:
    """Returns the name of a cell's planted model."""
    return self._once("planted", cell.root, self.key)

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
    """Returns the name of a seed's clean model on the source's test set."""
    return plans.digest([self.clean(cell), self.fingerprints["source"][1]])

  def id(self, cell: Cell) -> str:
    """Returns the name of a cell."""
    return self._once("id", cell, lambda c: [self.key(c), *self._tuning(c)])

  def protocol(self, cell: Cell) -> str:
    """Returns a digest of what all seeds of a cell must have in common."""
    varying = ("seed", "fingerprint", "examples")
    key = {k: v for k, v in self.key(cell).items() if k not in varying}
    plan = self._plan
    parts = (plan.train, plan.test, plan.user.train, plan.user.test)
    sizes = [part.size for part in parts]
    return plans.digest([key, sizes, *self._settings(cell)])

  def _once(self, kind: str, cell: Cell, about: Callable[[Cell], Any]) -> str:
    """Returns the digest of what decides a name, computed at the first call."""
    if (kind, cell) not in self._digests:
      self._digests[kind, cell] = plans.digest(about(cell))
    return self._digests[kind, cell]

  def _tuning(self, cell: Cell) -> list[Any]:
    """Returns what a cell is scored on, and what decides how it was tuned."""
    test = self.fingerprints["source"][1]
    defense, *more = self._settings(cell)
    users = [{"user": self.fingerprints["user"]} | x for x in more]
    return [test, defense, *users]

  def _settings(self, cell: Cell) -> list[Any]:
    """Returns what decides how a cell was tuned, but for the images."""
    method, plan = cell.defense, self._plan
    defense = [method.label, method.args, method.holding] if method else [NONE]
    if not plan.elsewhere:
      return [defense]
    info = plan.user.info
    return [
      defense,
      {"scenario": plan.scenario.args, "crop": info.crop, "flip": info.flip},
    ]
