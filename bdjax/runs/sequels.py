"""What a defense leaves behind, asked of every model of a plan.

Cases are finished, continued and given out to shards as cells are.
"""

import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from rich.markup import escape

from bdjax.attacks.parts import poison
from bdjax.machine import hosts, programs
from bdjax.report.results import Record
from bdjax.runs import cases, experiment, parties, plans
from bdjax.runs.cases import Case
from bdjax.runs.cells import Book, Cell
from bdjax.runs.methods import Method
from bdjax.runs.planter import Planter
from bdjax.runs.scorer import Scorer, rates
from bdjax.runs.workdir import Workdir
from bdjax.sequela import Outcome, Remains
from bdjax.sequela.parts import retraining
from bdjax.training import inference, learn, loop
from bdjax.training.loop import Row
from bdjax.training.progress import Display
from bdjax.types import (
  CLEAN,
  Access,
  Attack,
  Backdoor,
  Dataset,
  Defended,
  Fit,
  Params,
)

FOLLOWED = ("ca", "asr", "poison_accuracy")  # before and after retraining
accuracy = jax.jit(inference.accuracy, static_argnums=0)


class Sequels:
  """Asks a plan's models what it says, and keeps the answers in a workdir."""

  def __init__(
    self,
    plan: plans.Plan,
    workdir: Workdir,
    book: Book,
    planter: Planter,
    scorer: Scorer,
    *,
    mesh: Mesh | None = None,
  ):
    """Prepares to ask what the workdir lacks, on devices that share batches."""
    self._plan, self._workdir, self._mesh = plan, workdir, mesh
    self._book, self._planter, self._scorer = book, planter, scorer
    self._records = workdir.sequela()
    self._lessons: dict[str, Params] = {}

  def cases(self, cells: Sequence[Cell]) -> dict[str, Case]:
    """Returns the cases of some planted models' cells, by name.

    A clean model is with the first planted model that is asked the same, so
    that one share of the cells has it.
    """
    mine = {self._book.planted(cell) for cell in cells}
    return {
      name: case
      for name, case in cases.of(self._plan, self._book).items()
      if self._book.planted(case.cell) in mine
    }

  def todo(self, cells: Sequence[Cell]) -> dict[str, Case]:
    """Returns the cases that are not finished."""
    found = self.cases(cells)
    return {k: case for k, case in found.items() if k not in self._records}

  def run(
    self, cells: Sequence[Cell], display: Display, failures: dict[str, str]
  ) -> None:
    """Answers what is not, and notes why a case has no answer.

    Args:
      cells: whose models are asked.
      display: shows it.
      failures: why cells have failed; gets cases that do.
    """
    for name, case in self.todo(cells).items():
      hosts.stop_if_told()
      display.start(str(case))
      try:
        if case.planted and self._book.id(case.cell) in failures:
          raise ValueError(failures[self._book.id(case.cell)])
        record = self._answer(name, case, display)
      except (FloatingPointError, ValueError) as error:
        failures[name] = str(error)
        display.finish(f"[red]failed:[/red] {escape(str(error))}")
        continue
      self._workdir.sequel(record)
      self._records[record["cell"]] = record
      self._workdir.stages(record["cell"]).clear()
      display.finish(_said(record))

  def _answer(self, name: str, case: Case, display: Display) -> Record:
    remains = self._remains(case, display)
    if case.sequel.made.retrains:
      found, spent = self._retrain(name, case, remains, display)
    else:
      start = time.perf_counter()
      found = dict(self._examine(case, remains, loop.host_fit()).found)
      wall = time.perf_counter() - start
      spent = {"compile": 0.0, "train": 0.0, "eval": wall}
    return self._book.sequel(
      case.cell, name, case.sequel, found, spent, clean=case.clean
    )

  def _examine(self, case: Case, remains: Remains, fit: Fit) -> Outcome:
    key = experiment.key_for(case.cell.key, case.sequel.name)
    return case.sequel.made.examine(key, remains, fit)

  # What is asked.

  def _remains(self, case: Case, display: Display) -> Remains:
    plan, cell = self._plan, case.cell
    poisoned, hit = plan.train, plan.test
    role = jnp.full(plan.train.size, CLEAN, jnp.int8)
    if case.planted:
      backdoor = self._planter.backdoor(cell, display)
      poisoned, role = backdoor.train, backdoor.role
      if not case.sequel.made.retrains:
        hit = triggered(plan.test, backdoor, cell.attack.made)
    return Remains(
      self._variables(case, display),
      plan.train,
      plan.test,
      parties.tuned(plan, cell),
      poisoned,
      role,
      hit,
      learned=self._learned(case, display),
      model=plan.model.made,
      view=parties.view(plan.info),
    )

  def _variables(self, case: Case, display: Display) -> Params:
    if case.clean:
      return self._planter.clean(case.cell, display)
    if case.cell.defense is None:
      return self._planter.backdoor(case.cell, display).variables
    return self._planter.defended(case.cell, display)

  def _learned(self, case: Case, display: Display) -> Params:
    """Returns what a sequel has learned from the seed's shadow model."""
    sequel, cell = case.sequel, case.cell
    if sequel.made.prepare is None:
      return ()
    about = [self._book.shadow(cell), sequel.name, sequel.args]
    name = plans.digest(["learned", *about])
    if name not in self._lessons:
      self._lessons[name] = self._learn(name, cell, sequel, display)
    return self._lessons[name]

  def _learn(
    self, name: str, cell: Cell, sequel: Method, display: Display
  ) -> Params:
    shadow = self._planter.shadow(cell, display)
    key = experiment.key_for(cell.key, f"{sequel.name} shadow")

    def like():
      return jax.eval_shape(
        lambda shadow: sequel.made.prepare(key, shadow, loop.scan_fit), shadow
      )

    return self._planter.kept(
      name,
      display,
      lambda fit: sequel.made.prepare(key, shadow, fit),
      like=like,
    )

  # Training poisons back in.

  def _retrain(
    self, name: str, case: Case, remains: Remains, display: Display
  ) -> tuple[dict[str, Any], dict[str, float]]:
    """Returns how soon the backdoor is back, and the seconds it took."""
    journal = loop.Journal()
    poisons = retraining.poisons(remains.poisoned, remains.role)
    backdoor = self._planter.backdoor(case.cell, display)

    def rate(variables: Params) -> Row:
      return self._rates(case.cell, variables, backdoor, poisons)

    def probe(stage, done, epochs, state):
      del stage, done, epochs
      return rate(learn.classifiers(state)[0].variables)

    fit = loop.host_fit(
      store=self._workdir.stages(name),
      journal=journal,
      probe=loop.Probe(probe),
      progress=display.stage,
      mesh=self._mesh,
      unseen=self._workdir.unseen,
    )
    start = time.perf_counter()
    before = rate(remains.variables)
    scored = time.perf_counter()
    jax.block_until_ready(self._examine(case, remains, fit).variables)
    spent = journal.spent(time.perf_counter() - scored)
    spent["eval"] += scored - start
    stage = journal.rows[0]["stage"]
    journal.rows.insert(0, {"stage": stage, "epoch": 0} | before)
    self._workdir.curves(name, journal)
    return _relapse(journal.rows, poisons.size), spent

  def _rates(
    self,
    cell: Cell,
    variables: Params,
    backdoor: Backdoor,
    poisons: Dataset,
  ) -> Row:
    """Returns rates over the whole test set, and accuracy on the poisons."""
    model = self._plan.model.made
    counts, _ = self._scorer.score(
      cell.root, Defended(variables), Access(None, model=model), backdoor
    )
    right = accuracy(model, *self._scorer.spread((variables, poisons)))
    return rates(counts) | {"poison_accuracy": float(right)}


def triggered(test: Dataset, backdoor: Backdoor, attack: Attack) -> Dataset:
  """Returns a test set with the trigger, labelled as the adversary wants."""

  @programs.jit
  def stamp(test, params):
    def stamped(batch):
      key = jax.random.fold_in(jax.random.key(0), batch.index[0])
      return poison.to_bytes(attack.trigger(key, batch.image, params))

    return inference.each(test, stamped)

  wanted = attack.target(test.label).astype(test.label.dtype)
  return Dataset(stamp(test, backdoor.params), wanted)


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


def _said(record: Record) -> str:
  """Returns a finished case in a line."""
  if "area" in record:
    return f"ASR {record['asr_before']:.4f} -> {record['asr']:.4f}"
  auroc = record.get("mentropy_by_class.members.auroc")
  return "" if auroc is None else f"AUROC of members {auroc:.4f}"
