"""The engine: an epoch as one compiled scan, and two callers that own time.

`scan_fit` is pure, one program for all epochs, so it can be vmapped, sharded
and traced. `host_fit` runs an epoch at a time and reports, probes, saves and
resumes. Both compute the same numbers: epoch e uses `fold_in(key, e)` and step
i of it `fold_in(., i)`, so no key is stored and resuming is exact.
"""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from bdjax import backend
from bdjax import mesh as meshes
from bdjax.types import Array, Batch, Dataset, Fit, Key, Metrics, State, Step

LR_POINTS = 32  # learning rates kept per epoch in a journal's row
EpochFn = Callable[[Key, State, Dataset], tuple[State, Metrics]]
Row = dict[str, Any]


def steps_per_epoch(size: int, batch_size: int) -> int:
  """Returns the batches that show each of `size` examples at least once.

  Raises:
    ValueError: the batch is larger than the data.
  """
  if batch_size > size:
    raise ValueError(
      f"batch_size is {batch_size}, but the data has {size} examples: give a "
      "smaller batch or more data."
    )
  return math.ceil(size / batch_size)


def order(key: Key, data: Dataset, count: int) -> Array:
  """Returns `count` positions: kept examples shuffled, repeated as needed."""
  rank = jax.random.uniform(key, (data.size,))
  if data.keep is None:
    return jnp.argsort(rank)[jnp.arange(count) % data.size]
  shuffled = jnp.argsort(jnp.where(data.keep, rank, jnp.inf))
  return shuffled[jnp.arange(count) % jnp.maximum(data.keep.sum(), 1)]


def take(data: Dataset, index: Array) -> Batch:
  """Gathers a batch and turns its bytes into floats in [0, 1]."""
  image = data.image[index].astype(jnp.float32) / 255
  return Batch(image, data.label[index], index)


def epoch(step: Step, *, batch_size: int, mesh: Mesh | None = None) -> EpochFn:
  """Returns the function that runs `step` once over all kept examples.

  The last batch is filled from the start of the shuffled order.

  Args:
    step: one training step.
    batch_size: examples of a step.
    mesh: its devices share each batch: every one gathers its own examples, and
      batch norm sees all of them. None leaves batches whole.

  Returns:
    (key, state, data) -> (state, metrics stacked over the steps, [steps]).
  """

  def run(key, state, data):
    steps = steps_per_epoch(data.size, batch_size)
    k_order, k_steps = jax.random.split(key)
    index = order(k_order, data, steps * batch_size)

    def body(state, at):
      i, index = at
      return step(jax.random.fold_in(k_steps, i), state, take(data, index))

    batches = index.reshape(steps, batch_size)
    if mesh is not None:
      batches = jax.lax.with_sharding_constraint(batches, meshes.by_batch(mesh))
    return jax.lax.scan(body, state, (jnp.arange(steps), batches))

  return run


def turns(
  step: Step | tuple[Step, ...], data: Dataset | tuple[Dataset, ...]
) -> list[tuple[Step, Dataset]]:
  """Returns the (step, data) pairs that epochs take turns with."""
  steps = step if isinstance(step, tuple) else (step,)
  datas = data if type(data) is tuple else (data,)
  n = math.lcm(len(steps), len(datas))
  return [(steps[i % len(steps)], datas[i % len(datas)]) for i in range(n)]


def scan_fit(
  key: Key,
  step: Step | tuple[Step, ...],
  state: State,
  data: Dataset | tuple[Dataset, ...],
  *,
  epochs: int,
  batch_size: int,
  name: str = "train",
) -> tuple[State, Metrics]:
  """Fits in one pure program; see `bdjax.types.Fit`."""
  del name
  pairs = turns(step, data)

  def branch(step, data):
    run = epoch(step, batch_size=batch_size)
    return lambda key, state: run(key, state, data)

  branches = [branch(*pair) for pair in pairs]

  def body(state, e):
    now = jax.random.fold_in(key, e)
    state, metrics = jax.lax.switch(e % len(pairs), branches, now, state)
    return state, jax.tree.map(jnp.mean, metrics)

  return jax.lax.scan(body, state, jnp.arange(epochs))


class Store(Protocol):
  """Where `host_fit` saves stages; `bdjax.checkpoint.Stages` is one."""

  def restore(self, name: str, like: State) -> tuple[State, list[Row]] | None:
    """Returns the newest saved state and its journal rows, if any."""
    ...

  def save(self, name: str, state: State, rows: list[Row], *, last: bool):
    """Saves the state after `len(rows)` epochs, or skips if too soon."""
    ...


@dataclasses.dataclass
class Journal:
  """What a `host_fit` did: a row per epoch, and the wall time it took."""

  rows: list[Row] = dataclasses.field(default_factory=list)
  seconds: float = 0.0

  def total(self, column: str) -> float:
    """Returns the sum of a column of seconds."""
    return sum(row.get(column, 0.0) for row in self.rows)

  def spent(self, wall: float) -> dict[str, float]:
    """Splits a program's wall time; what is no epoch's counts as training."""
    names = ("compile", "train", "eval")
    parts = {name: self.total(f"seconds_{name}") for name in names}
    parts["train"] += max(0.0, wall - self.seconds)
    return parts


def _no_probe(name: str, done: int, epochs: int, state: State) -> Row:
  del name, done, epochs, state
  return {}


def _no_progress(name: str, done: int, epochs: int, row: Row) -> None:
  del name, done, epochs, row


def host_fit(
  *,
  store: Store | None = None,
  journal: Journal | None = None,
  probe: Callable[[str, int, int, State], Row] = _no_probe,
  progress: Callable[[str, int, int, Row], None] = _no_progress,
  mesh: Mesh | None = None,
) -> Fit:
  """Returns a fit that runs epoch by epoch on the host.

  Args:
    store: saves the state as training goes on, restores it, and skips a
      finished stage; None keeps nothing.
    journal: collects a row per epoch: stage, epoch, mean metrics, the learning
      rates, seconds, and what `probe` adds.
    probe: (stage, epochs done, epochs, state) -> more columns, such as the
      current accuracy; its time counts as evaluation.
    progress: called after every epoch with its row.
    mesh: devices that share each batch; None trains on one. What the fit takes
      and gives lies on one device in either case.
  """
  journal = Journal() if journal is None else journal

  def fit(key, step, state, data, *, epochs, batch_size, name):
    start = time.perf_counter()
    compiled = _Epochs(turns(step, data), batch_size, mesh)
    saved = store.restore(name, state) if store else None
    # The caller keeps its arrays: an epoch donates the state it is given.
    state, rows = saved or (jax.tree.map(jnp.copy, state), [])
    key, state = compiled.spread((key, state))
    if rows:
      progress(name, len(rows), epochs, rows[-1])
    for e in range(len(rows), epochs):
      state, row = compiled.run(key, e, state, name)
      if probe is not _no_probe:  # several devices' weights go by the host
        now = compiled.gather(state)
        row |= _timed_probe(probe, name, e + 1, epochs, now)
      rows.append(row)
      progress(name, e + 1, epochs, row)
      if store:
        store.save(name, state, rows, last=e + 1 == epochs)
    journal.rows += rows
    journal.seconds += time.perf_counter() - start
    return compiled.gather(state), _means(rows)

  return fit


class _Epochs:
  """Compiles each kind of epoch once, times it and checks what comes out."""

  def __init__(
    self,
    pairs: list[tuple[Step, Dataset]],
    batch_size: int,
    mesh: Mesh | None,
  ):
    self._batch_size, self._mesh = batch_size, mesh
    if mesh is not None and batch_size % meshes.shares(mesh):
      raise ValueError(
        f"batch_size is {batch_size}, but {meshes.shares(mesh)} devices are to "
        "share a batch: give a multiple of that, or use fewer devices."
      )
    self._pairs = [(step, self.spread(data)) for step, data in pairs]
    self._programs = {}

  def spread(self, tree):
    if self._mesh is None:
      return tree
    return meshes.place(tree, meshes.everywhere(self._mesh))

  def gather(self, tree):
    return tree if self._mesh is None else meshes.here(tree)

  def run(self, key, e, state, name):
    step, data = self._pairs[e % len(self._pairs)]
    args = (jax.random.fold_in(key, e), state, data)
    start = time.perf_counter()
    program = self._program(step, args)
    compiled = time.perf_counter()
    state, metrics = program(*args)
    metrics = jax.tree.map(np.asarray, metrics)
    row = {"stage": name, "epoch": e + 1, **_summary(metrics)}
    row["seconds_compile"] = compiled - start
    row["seconds_train"] = time.perf_counter() - compiled
    _check_finite(metrics, row)
    return state, row

  def _program(self, step, args):
    kind = (step, jax.tree.structure(args[2]))
    if kind not in self._programs:
      run = epoch(step, batch_size=self._batch_size, mesh=self._mesh)
      whole = None if self._mesh is None else meshes.everywhere(self._mesh)
      jitted = jax.jit(run, donate_argnums=1, out_shardings=whole)
      lowered = jitted.lower(*args)
      options = backend.compiler_options()
      self._programs[kind] = lowered.compile(compiler_options=options)
    return self._programs[kind]


def _summary(metrics: dict[str, np.ndarray]) -> Row:
  row = {k: float(np.mean(v, dtype=np.float64)) for k, v in metrics.items()}
  row["metrics"] = sorted(metrics)
  if "lr" in metrics:
    at = np.linspace(0, len(metrics["lr"]) - 1, LR_POINTS).round().astype(int)
    row["lr"] = metrics["lr"][np.unique(at)].astype(float).tolist()
  return row


def _check_finite(metrics: dict[str, np.ndarray], row: Row) -> None:
  bad = np.flatnonzero(~np.isfinite(metrics.get("loss", np.zeros(1))))
  if bad.size:
    raise FloatingPointError(
      f"stage {row['stage']}: the loss is {metrics['loss'][bad[0]]} at step "
      f"{bad[0]} of epoch {row['epoch']}; lower the learning rate."
    )


def _timed_probe(probe, name, done, epochs, state) -> Row:
  start = time.perf_counter()
  found = probe(name, done, epochs, state)
  return found | {"seconds_eval": time.perf_counter() - start} if found else {}


def _means(rows: list[Row]) -> Metrics:
  names = rows[0]["metrics"] if rows else []
  return {k: np.array([row[k] for row in rows]) for k in names}
