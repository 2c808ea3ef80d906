"""What is recorded of a finished cell, and of a finished sequel's."""

import datetime
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bdjax.machine import environment, programs
from bdjax.methods import registry, specs
from bdjax.report.results import CLEAN_MODEL, Record
from bdjax.runs import evaluate, experiment, methods, plans
from bdjax.runs.cells import Cell, Names
from bdjax.runs.methods import Method
from bdjax.runs.sequel_cells import SequelCell
from bdjax.training import metrics
from bdjax.types import Backdoor

PICTURES = 6  # test images shown per planted model
BEFORE = ("ca_before", "asr_before", "ra_before")
WHERE = ("device", "platform", "devices", "git")
_SWEPT = ("attack", "defense")  # sections whose methods may have several values
_where = functools.cache(environment.describe)


def of_cell(
  plan: plans.Plan,
  names: Names,
  cell: Cell,
  counts: dict[str, int],
  spent: dict[str, float],
  *,
  before: dict[str, float] | None,
  clean_images: int,
  where: dict[str, Any] | None = None,
) -> Record:
  """Returns a finished cell's record.

  Args:
    counts: of its model's answers; see `metrics.counts`.
    spent: seconds of compile, train and eval.
    before: what the undefended model reached; None where that was another
      task.
    clean_images: how many the defender held.
    where: what the time was spent on, see `where`, if not on these devices.
  """
  rates, defense = metrics.rates(counts), cell.defense
  place = _where() | (where or {})
  made = {
    **_labels(names, cell),
    **{k: before and before[k] for k in BEFORE},
    **rates,
    "der": _effectiveness(before, rates),
    **{f"seconds_{k}": spent[k] for k in ("compile", "train", "eval")},
    "device_hours": spent["train"] * place["devices"] / 3600,
    "test_images": counts["images"],
    "triggered_images": counts["triggered"],
    "clean_images": clean_images,
    **_settings(plan, cell),
    "poison_rate": cell.attack.args.get("rate"),
    "defense_epochs": defense.args.get("epochs") if defense else None,
    **_protocol(plan, names),
    **place,
    "classes": _classes(plan, cell),
    "finished": _now(),
  }
  return made | {"code": code(made)}


def of_diverged(
  plan: plans.Plan, names: Names, cell: Cell, reason: str
) -> Record:
  """Returns what is recorded of a cell whose training diverged.

  Args:
    plan: the run's.
    names: of the plan's cells.
    cell: the cell.
    reason: as the user reads it.
  """
  made = {
    **_labels(names, cell),
    "reason": reason,
    **_settings(plan, cell),
    **_protocol(plan, names),
    "finished": _now(),
  }
  return made | {"code": code(made)}


def of_sequel(
  plan: plans.Plan,
  names: Names,
  name: str,
  question: SequelCell,
  answer: dict[str, Any],
  spent: dict[str, float],
) -> Record:
  """Returns a finished sequel's record.

  Args:
    question: what was asked; of a clean model that stays clean, attack and
      regime are None, and a clean one's defense is `clean_defense`.
    spent: seconds of compile, train and eval.
  """
  cell, sequel = question.cell, question.sequel
  made = {
    "cell": name,
    "attack": cell.attack.label if question.planted else None,
    "regime": cell.regime.label if question.planted else None,
    "defense": CLEAN_MODEL if question.clean else _label(cell.defense),
    "clean_defense": _label(cell.defense) if question.clean else None,
    "seed": cell.seed,
    "sequel": sequel.label,
    "kind": sequel.name,
    **answer,
    **{f"seconds_{k}": v for k, v in spent.items()},
    **_protocol(plan, names),
    "finished": _now(),
  }
  return made | {"code": code(made)}


def where() -> dict[str, Any]:
  """Returns what this process runs on, and which revision."""
  return {key: _where()[key] for key in WHERE}


def code(record: Record) -> str:
  """Returns a digest of the code that decides a record, as it is now.

  Args:
    record: its methods are read.
  """
  labels = [(f"{k}s", record.get(k)) for k in ("attack", "defense", "model")]
  labels += [
    ("defenses", record.get("clean_defense")),
    ("scenarios", record["scenario"]),
    ("sequela", record.get("sequel")),
  ]
  if record.get("regime"):  # which may rehearse a defense
    (regime,) = specs.parse(record["regime"])
    labels.append(("defenses", regime.args.get("defense")))
  named = {
    f"{kind}/{specs.parse(label)[0].name}.py"
    for kind, label in labels
    if label not in (None, CLEAN_MODEL)
  }
  return environment.code(tuple(sorted(named)), registry.KINDS)


def _labels(names: Names, cell: Cell) -> Record:
  return {
    "cell": names.id(cell),
    "planted": names.planted(cell),
    **dict(zip(("attack", "regime", "defense"), cell.called, strict=True)),
    "seed": cell.seed,
    "protocol": names.protocol(cell),
  }


def _effectiveness(
  before: dict[str, float] | None, rates: dict[str, float]
) -> float | None:
  if before is None:
    return None
  der = metrics.defense_effectiveness(
    ca_before=before["ca_before"],
    asr_before=before["asr_before"],
    ca=rates["ca"],
    asr=rates["asr"],
  )
  return float(der)


def _label(defense: Method | None) -> str:
  return defense.label if defense else "none"


def _now() -> str:
  return datetime.datetime.now(datetime.UTC).isoformat("T", "seconds")


def _settings(plan: plans.Plan, cell: Cell) -> Record:
  """Returns where a cell lies on the axes of a sweep."""
  args = cell.attack.args | (cell.defense.args if cell.defense else {})
  return {f"axis.{name}": _flat(args.get(name)) for name in _axes(plan)}


def _axes(plan: plans.Plan) -> list[str]:
  """Returns what has several values: in sweep.axes, or in a method's text."""
  config = plan.config
  several = {
    name: None
    for section in _SWEPT
    for spec in specs.parse(config[section]["name"])
    for name in methods.swept(f"{section}s", spec)
  }
  axes = specs.axes(config["sweep"]["axes"] or "")
  return list(dict.fromkeys(axes) | several)


def _dataset(plan: plans.Plan) -> str:
  if not plan.elsewhere:
    return plan.info.name
  return f"{plan.info.name} -> {plan.user.info.name}"


def _protocol(plan: plans.Plan, names: Names) -> Record:
  config = plans.flat(plan.config)
  del config[plans.OVERRIDDEN]  # a cell's own arguments say what won
  return {
    "dataset": _dataset(plan),
    "classes": plan.user.info.num_classes,
    "model": plan.model.label,
    "scenario": plan.scenario.label,
    "width": plan.model.args.get("width"),
    "train_images": plan.train.size,
    "train_epochs": plan.recipe.epochs,
    "crop": plan.info.crop,
    "fingerprint_train": names.fingerprints["source"][0],
    "fingerprint_test": names.fingerprints["source"][1],
    "fingerprint_user": names.fingerprints["user"][0],
    "fingerprint_user_test": names.fingerprints["user"][1],
    **{f"config.{k}": _flat(v) for k, v in config.items()},
    **_where(),
  }


def _classes(plan: plans.Plan, cell: Cell) -> int:
  """Returns in how many classes a cell was scored: the user's, once tuned.

  An encoder has none of its own before.
  """
  own = 0 if cell.defense else plan.classes
  return own or plan.user.info.num_classes


def _flat(value: Any) -> Any:
  return str(value) if isinstance(value, tuple | list) else value


def pictures(
  cell: Cell, backdoor: Backdoor, plan: plans.Plan
) -> dict[str, np.ndarray]:
  """Returns the first test images that the trigger should change."""
  info, _, test = plan.scored(tuned=False)
  attack, label = cell.attack.built, np.asarray(test.label)
  target = np.asarray(attack.target(test.label))
  pick = np.flatnonzero(target != label)[:PICTURES]
  clean = test.image[pick]
  stamp = functools.partial(evaluate.triggered, attack=attack)
  hit = programs.jit(stamp)(
    experiment.key_for(jax.random.key(0), "pictures"),
    clean.astype(jnp.float32) / 255,
    backdoor.params,
  )
  return {
    "clean": np.asarray(clean),
    "triggered": np.asarray(jnp.round(hit * 255).astype(jnp.uint8)),
    "label": label[pick],
    "target": target[pick],
    "class_names": np.array(info.class_names),
  }
