"""Scores models with programs that are compiled once and timed."""

import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from bdjax.data import splits
from bdjax.machine import mesh as meshes
from bdjax.machine import programs
from bdjax.runs import evaluate, experiment, plans
from bdjax.runs.cells import Cell
from bdjax.training import engine, finite, learn, loop, metrics
from bdjax.training.engine import Rows
from bdjax.types import (
  Access,
  Backdoor,
  Dataset,
  Defended,
  Params,
  default_predict,
)


class Scorer:
  """Counts models' answers on a plan's test set."""

  def __init__(self, plan: plans.Plan, *, mesh: Mesh | None = None) -> None:
    """Prepares to score on the plan's test set, and on the curves' part.

    Args:
      mesh: devices that share the batches; None uses one.
    """
    self._plan, self._setting = plan, plan.config["evaluate"]
    self._mesh = mesh
    self._test = self.spread(engine.rows(plan.user.test))
    self._few = self._sampled(plan.user.test)
    self._programs: dict[Any, Callable] = {}

  def spread(self, tree: Params) -> Params:
    """Returns arrays on the devices that this scores on."""
    if self._mesh is None:
      return tree
    return meshes.place(tree, meshes.everywhere(self._mesh))

  @functools.cached_property
  def _victims(self) -> Rows:
    """Test images of the task that the victim was planted in."""
    test = self._plan.scored(tuned=False).test
    return (
      self._test
      if test is self._plan.user.test
      else self.spread(engine.rows(test))
    )

  @functools.cached_property
  def _few_victims(self) -> Rows:
    test = self._plan.scored(tuned=False).test
    return self._few if test is self._plan.user.test else self._sampled(test)

  def _sampled(self, test: Dataset) -> Rows:
    """Returns the images behind a curve's points."""
    few = splits.sample(test, self._setting["curve_images"])
    return self.spread(engine.rows(few))

  def score(
    self, cell: Cell, state: Defended, access: Access, backdoor: Backdoor
  ) -> tuple[dict[str, Any], dict[str, float]]:
    """Returns counts over the test set, and seconds of compile and eval."""
    finite.check((state.variables, access.variables))
    test = self._test if cell.defense is not None else self._victims
    return self._score(cell, state, access, backdoor, test)

  def audit(
    self, cell: Cell, state: Defended, access: Access, backdoor: Backdoor
  ) -> tuple[dict[str, Any], dict[str, float]]:
    """Returns scores of what else a defense found, and seconds it took.

    Filters are scored by the examples that they removed, detectors by their
    scores on the test set; the memo's scalars and vectors are added. The
    seconds are those of compile and eval.
    """
    findings, spent = dict(_numbers(state.memo)), {"compile": 0.0, "eval": 0.0}
    if state.verdict is not None:
      findings["verdict"] = float(state.verdict)
    if state.keep is not None:
      findings |= metrics.filtering(state.keep, backdoor.role)
    if cell.defense.built.suspect is not None:
      more, spent = self._suspicions(cell, state, access, backdoor)
      findings |= more
    return findings, spent

  def _suspicions(
    self, cell: Cell, state: Defended, access: Access, backdoor: Backdoor
  ) -> tuple[dict[str, float], dict[str, float]]:
    suspect = cell.defense.built.suspect

    def program(state, access, test, params):
      return evaluate.suspicions(
        jax.random.key(0),
        test,
        params,
        attack=cell.attack.built,
        suspect=lambda key, images: suspect(key, images, access, state),
        batch_size=self._setting["batch_size"],
        mesh=self._mesh,
      )

    args = self.spread((state, access, self._test, backdoor.params))
    start = time.perf_counter()
    run = programs.compiled(program, *args, mesh=self._mesh)
    ready = time.perf_counter()
    scores = {k: np.asarray(v) for k, v in run(*args).items()}
    spent = {"compile": ready - start, "eval": time.perf_counter() - ready}
    hit = scores["hit"][scores["other"]]
    return metrics.detection(scores["clean"], hit), spent

  def probe(self, cell: Cell, access: Access, backdoor: Backdoor) -> loop.Probe:
    """Returns what scores a classifier in training now and then."""

    def look(name, done, epochs, state, params):
      del name, done, epochs, params
      return self._point(cell, state, access, backdoor, self._few)

    return loop.Probe(look, self._due)

  def watch(self, cell: Cell) -> loop.Probe:
    """Returns what scores a victim while its backdoor is planted."""
    access = Access(None, model=self._plan.model.built)

    def look(name, done, epochs, state, params):
      del name, done, epochs
      if params is None or self._plan.encoder:
        return {}
      backdoor = Backdoor(None, params, None, None)
      return self._point(cell.root, state, access, backdoor, self._few_victims)

    return loop.Probe(look, self._due)

  def _due(self, done: int, epochs: int, turn: int) -> bool:
    """Returns whether to look: after every epoch of each n-th turn.

    After each n-th epoch instead, all points might be of one kind, such as
    those of clean epochs where these take turns with poisoned ones.
    """
    begun = (done - 1) // turn + 1
    often = begun % self._setting["curve_every"] == 0
    return self._few.size > 0 and (done in (1, epochs) or often)

  def _point(
    self,
    cell: Cell,
    state: Params,
    access: Access,
    backdoor: Backdoor,
    test: Rows,
  ) -> dict[str, float]:
    """Returns the rates of the first classifier in a state, if it has one."""
    victims = learn.classifiers(state)
    if not victims:
      return {}
    now = Defended(victims[0].variables)
    counts, _ = self._score(cell, now, access, backdoor, test)
    return rates(counts)

  def _score(
    self,
    cell: Cell,
    state: Defended,
    access: Access,
    backdoor: Backdoor,
    test: Rows,
  ) -> tuple[dict[str, Any], dict[str, float]]:
    predict = cell.defense.built.predict if cell.defense else default_predict
    if predict is default_predict:  # one program serves all such defenses
      state = Defended(state.variables)
      access = Access(None, model=access.model)
    args = self.spread((state, access, test, backdoor.params))
    start = time.perf_counter()
    key = (cell.attack.label, predict, test.size, access.model)
    program = self._program(key, cell, args)
    ready = time.perf_counter()
    counts = {k: np.asarray(v).tolist() for k, v in program(*args).items()}
    done = time.perf_counter()
    return counts, {"compile": ready - start, "eval": done - ready}

  def _program(self, key: Any, cell: Cell, args: tuple) -> Callable:
    if key not in self._programs:
      score = functools.partial(
        experiment.score,
        attack=cell.attack.built,
        predict=key[1],
        batch_size=self._setting["batch_size"],
        tally=self._tally(),
        mesh=self._mesh,
      )
      self._programs[key] = programs.compiled(score, *args, mesh=self._mesh)
    return self._programs[key]

  def _tally(self) -> Callable:
    if not self._plan.elsewhere:
      return metrics.counts
    classes = max(self._plan.info.num_classes, self._plan.user.info.num_classes)
    return functools.partial(metrics.counts_elsewhere, num_classes=classes)


def rates(counts: dict[str, Any]) -> dict[str, float]:
  """Returns all rates that counts tell."""
  more = metrics.rates_elsewhere(counts) if "taken" in counts else {}
  return metrics.rates(counts) | more


def _numbers(memo: dict[str, Any] | tuple[()]) -> Iterator[tuple[str, Any]]:
  """Yields a memo's scalars and vectors as numbers and lists."""
  for name, value in (memo or {}).items():
    if isinstance(value, jax.Array | np.ndarray) and value.ndim <= 1:
      yield f"memo.{name}", np.asarray(value).tolist()


def findings(memo: dict[str, Any] | tuple[()]) -> dict[str, np.ndarray]:
  """Returns a memo's pictures in 8 bits, [n, H, W, C], by name."""
  return {
    name: np.asarray(jnp.round(jnp.clip(value, 0, 1) * 255).astype(jnp.uint8))
    for name, value in (memo or {}).items()
    if isinstance(value, jax.Array | np.ndarray) and value.ndim == 4
  }
