"""Runs a plan cell by cell in a workdir, and continues where a kill left it.

A cell is (attack, regime, seed, defense). Its backdoored model is planted once,
kept under a key of what decides it, and shared by its defenses and later runs.
"""

import datetime
import functools
import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bdjax import (
  augment,
  checkpoint,
  data,
  environment,
  evaluate,
  experiment,
  learn,
  loop,
  metrics,
  results,
  settings,
)
from bdjax.methods import Guard, Method
from bdjax.progress import Display
from bdjax.types import (
  Access,
  Backdoor,
  Dataset,
  Defended,
  Task,
  default_predict,
)
from bdjax.workdir import Workdir

PICTURES = 6  # test images shown per planted model
BEFORE = ("ca", "asr", "ra")
Spent = dict[str, float]


class Cell(NamedTuple):
  """One cell of a plan; a guard of None scores the undefended model."""

  attack: Method
  regime: Method
  seed: int
  guard: Guard | None

  def __str__(self) -> str:
    """Returns the cell as the user reads it."""
    step = self.guard.label if self.guard else "plant"
    return (
      f"{self.attack.label} · {self.regime.label} · seed {self.seed} · {step}"
    )


class Runner:
  """Runs one plan in one workdir."""

  def __init__(self, plan: settings.Plan, workdir: Workdir):
    """Prepares to run what the workdir lacks."""
    self._plan, self._workdir = plan, workdir
    self._records = workdir.records()
    self._where = environment.describe()
    self._prints = [data.fingerprint(d) for d in (plan.train, plan.test)]
    self._view = augment.standard(padding=plan.info.crop, mirror=plan.info.flip)
    self._planted: tuple[str, Backdoor] | None = None
    self._scorers: dict[Any, Callable] = {}
    self.failures: dict[str, str] = {}

  def cells(self) -> list[Cell]:
    """Returns the plan's cells, each model before its defenses."""
    plan = self._plan
    return [
      Cell(attack, regime, seed, guard)
      for seed in plan.seeds
      for attack in plan.attacks
      for regime in plan.regimes
      for guard in [None, *plan.defenses]
    ]

  def todo(self) -> list[Cell]:
    """Returns the cells that are not finished."""
    return [c for c in self.cells() if self._id(c) not in self._records]

  def run(self, display: Display) -> None:
    """Runs the unfinished cells; those that diverge go to `failures`."""
    for cell in self.todo():
      root = self._id(cell._replace(guard=None))
      display.start(str(cell))
      try:
        if root in self.failures:
          raise FloatingPointError(self.failures[root])
        backdoor = self._model(cell, display)
        record = (
          self._defend(cell, backdoor, display)
          if cell.guard
          else self._score_planted(cell, backdoor)
        )
      except FloatingPointError as error:
        self.failures[self._id(cell)] = str(error)
        display.finish(f"[red]failed:[/red] {error}")
        continue
      self._workdir.record(record)
      self._records[record["cell"]] = record
      self._workdir.stages(record["cell"]).clear()
      display.finish(f"CA {record['ca']:.4f}  ASR {record['asr']:.4f}")

  # What decides a model, and a cell: their names.

  def _key(self, cell: Cell) -> dict[str, Any]:
    key = settings.attack_key(self._plan, cell.attack, cell.regime, cell.seed)
    return json.loads(json.dumps(key | {"fingerprint": self._prints[0]}))

  def _id(self, cell: Cell) -> str:
    guard = cell.guard
    defense = [guard.label, guard.args, guard.holding] if guard else ["none"]
    return settings.digest([self._key(cell), self._prints[1], defense])

  # Planting.

  def _model(self, cell: Cell, display: Display) -> Backdoor:
    planted = settings.digest(self._key(cell))
    if self._planted is None or self._planted[0] != planted:
      self._planted = None  # frees the previous model
      self._planted = planted, self._plant_or_load(cell, planted, display)
    return self._planted[1]

  def _plant_or_load(self, cell, planted, display) -> Backdoor:
    task = self._task(cell)
    path = self._workdir.model(planted)
    if checkpoint.exists(path):
      plant = functools.partial(
        experiment.plant, cell.seed, cell.attack.made, fit=loop.scan_fit
      )
      return checkpoint.load(
        path, jax.eval_shape(lambda t: plant(task=t), task)
      )
    stages, journal = self._workdir.stages(planted), loop.Journal()
    fit = loop.host_fit(store=stages, journal=journal, progress=display.stage)
    start = time.perf_counter()
    backdoor = experiment.plant(cell.seed, cell.attack.made, task, fit)
    jax.block_until_ready(backdoor)
    spent = _spent(journal, time.perf_counter() - start)
    self._workdir.curves(planted, journal)
    note = {"key": self._key(cell), "spent": spent}
    checkpoint.save(path, backdoor, note=note)
    stages.clear()
    return backdoor

  def _task(self, cell: Cell) -> Task:
    return Task(
      train=self._plan.train,
      model=self._plan.model.made,
      recipe=self._plan.recipe,
      regime=cell.regime.made,
      view=self._view,
    )

  def _score_planted(self, cell: Cell, backdoor: Backdoor) -> results.Record:
    planted = settings.digest(self._key(cell))
    spent = checkpoint.note(self._workdir.model(planted))["spent"]
    access = Access(backdoor.variables, model=self._plan.model.made)
    state = Defended(backdoor.variables)
    counts = self._score(cell, state, access, backdoor, self._plan.test, spent)
    self._workdir.picture(planted, _pictures(cell, backdoor, self._plan))
    before = {f"{k}_before": v for k, v in metrics.rates(counts).items()}
    return self._record(cell, counts, spent, before | {"clean_images": 0})

  # Defending.

  def _defend(self, cell, backdoor, display) -> results.Record:
    guard, name = cell.guard, self._id(cell)
    access = experiment.access_to(
      cell.seed, backdoor, self._task(cell), guard.holding
    )
    stages, journal = self._workdir.stages(name), loop.Journal()
    fit = loop.host_fit(
      store=stages,
      journal=journal,
      probe=self._probe(cell, access, backdoor),
      progress=display.stage,
    )
    start = time.perf_counter()
    state = experiment.defend(cell.seed, guard.made, access, fit)
    jax.block_until_ready(state)
    spent = _spent(journal, time.perf_counter() - start)
    test = self._plan.test
    counts = self._score(cell, state, access, backdoor, test, spent)
    self._workdir.curves(name, journal)
    root = self._records[self._id(cell._replace(guard=None))]
    before = {k: root[k] for k in root if k.endswith("_before")}
    clean = {"clean_images": access.clean.size}
    return self._record(cell, counts, spent, before | clean)

  def _probe(self, cell, access, backdoor) -> Callable[..., loop.Row]:
    """Returns the probe that scores a classifier in training now and then."""
    setting = self._plan.config["evaluate"]
    if not setting["curve_images"]:
      return lambda *args: {}
    few = jax.tree.map(lambda x: x[: setting["curve_images"]], self._plan.test)

    def probe(name, done, epochs, state):
      del name
      found = learn.classifiers(state)
      due = done in (1, epochs) or done % setting["curve_every"] == 0
      if not due or not found:
        return {}
      now = Defended(found[0].variables)
      return metrics.rates(self._score(cell, now, access, backdoor, few, {}))

    return probe

  # Scoring.

  def _score(
    self,
    cell: Cell,
    state: Defended,
    access: Access,
    backdoor: Backdoor,
    test: Dataset,
    spent: Spent,
  ) -> dict[str, int]:
    """Returns counts over a test set, and adds the time to `spent`."""
    predict = cell.guard.made.predict if cell.guard else default_predict
    if predict is default_predict:  # one program serves all such defenses
      state = Defended(state.variables)
      access = Access(None, model=access.model)
    args = (state, access, test, backdoor.params)
    key = (cell.attack.label, predict, test.size)
    start = time.perf_counter()
    if key not in self._scorers:
      score = functools.partial(
        experiment.score,
        attack=cell.attack.made,
        predict=predict,
        batch_size=self._plan.config["evaluate"]["batch_size"],
      )
      self._scorers[key] = evaluate.compiled(score, *args)
    ready = time.perf_counter()
    counts = {k: int(v) for k, v in self._scorers[key](*args).items()}
    for name, took in (
      ("compile", ready - start),
      ("eval", time.perf_counter() - ready),
    ):
      spent[name] = spent.get(name, 0.0) + took
    return counts

  def _record(
    self, cell: Cell, counts: dict[str, int], spent: Spent, more: dict[str, Any]
  ) -> results.Record:
    plan, rates = self._plan, metrics.rates(counts)
    der = metrics.defense_effectiveness(
      ca_before=more["ca_before"],
      asr_before=more["asr_before"],
      ca=rates["ca"],
      asr=rates["asr"],
    )
    return {
      "cell": self._id(cell),
      "planted": settings.digest(self._key(cell)),
      "dataset": plan.info.name,
      "model": plan.model.label,
      "attack": cell.attack.label,
      "regime": cell.regime.label,
      "scenario": plan.config["scenario"],
      "defense": cell.guard.label if cell.guard else "none",
      "seed": cell.seed,
      **{f"{k}_before": more[f"{k}_before"] for k in BEFORE},
      **rates,
      "der": float(der),
      **{f"seconds_{k}": spent[k] for k in ("compile", "train", "eval")},
      "device_hours": spent["train"] * self._where["devices"] / 3600,
      "test_images": counts["images"],
      "triggered_images": counts["triggered"],
      "clean_images": more["clean_images"],
      "train_images": plan.train.size,
      "poison_rate": cell.attack.args.get("rate"),
      "width": plan.model.args.get("width"),
      "train_epochs": plan.recipe.epochs,
      "batch_size": plan.recipe.batch_size,
      "defense_epochs": cell.guard.args.get("epochs") if cell.guard else None,
      "fingerprint_train": self._prints[0],
      "fingerprint_test": self._prints[1],
      **{
        f"config.{k}": _flat(v) for k, v in settings.flat(plan.config).items()
      },
      "finished": datetime.datetime.now(datetime.UTC).isoformat("T", "seconds"),
      **self._where,
    }


def _flat(value: Any) -> Any:
  return str(value) if isinstance(value, tuple | list) else value


def _spent(journal: loop.Journal, wall: float) -> Spent:
  """Splits a program's time; what is no epoch's counts as training."""
  parts = {
    k: journal.total(f"seconds_{k}") for k in ("compile", "train", "eval")
  }
  parts["train"] += max(0.0, wall - journal.seconds)
  return parts


def _pictures(
  cell: Cell, backdoor: Backdoor, plan: settings.Plan
) -> dict[str, np.ndarray]:
  """Returns the first test images that the trigger should change."""
  label = np.asarray(plan.test.label)
  wanted = np.asarray(cell.attack.made.target(plan.test.label))
  pick = np.flatnonzero(wanted != label)[:PICTURES]
  clean = plan.test.image[pick]
  hit = evaluate.triggered(
    experiment.key_for(0, "pictures"),
    clean.astype(jnp.float32) / 255,
    backdoor.params,
    cell.attack.made,
  )
  return {
    "clean": np.asarray(clean),
    "triggered": np.asarray(jnp.round(hit * 255).astype(jnp.uint8)),
    "label": label[pick],
    "target": wanted[pick],
    "class_names": np.array(plan.info.class_names),
  }
