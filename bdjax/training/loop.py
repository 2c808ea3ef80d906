"""The two callers that own time; `engine` defines what an epoch is.

`scan_fit` is pure, one program for all epochs, so it can be vmapped, sharded
and traced. `host_fit` runs epochs on the host's time: it reports, probes, saves
and resumes, and runs several in a row where nobody looks in between. Both
compute the same numbers: epoch e uses `fold_in(key, e)` and step i of it
`fold_in(., i)`, so no key is stored and resuming is exact.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from bdjax.machine import hosts, programs
from bdjax.machine import mesh as meshes
from bdjax.training import engine, finite, learn
from bdjax.training.journal import Journal, Row
from bdjax.types import Array, Dataset, Fit, Key, Metrics, Params, State, Step

LR_POINTS = 32  # learning rates kept per epoch in a journal's row
MOST = 16  # epochs of one program's run
UNSEEN = 1.0  # seconds that training may go on without a word
RESUMED = "resumed"  # in a row that is shown again, and in no journal


def scan_fit(
  key: Key,
  step: Step | tuple[Step, ...],
  state: State,
  data: Dataset | tuple[Dataset, ...],
  *,
  epochs: int,
  batch_size: int,
  name: str = "train",
  params: Callable[[State], Params] | None = None,
) -> tuple[State, Metrics]:
  """Fits in one pure program; see `bdjax.types.Fit`."""
  del name, params
  state, metrics, _ = scan_steps(
    key, step, state, data, epochs=epochs, batch_size=batch_size
  )
  return state, metrics


def scan_steps(
  key: Key,
  step: Step | tuple[Step, ...],
  state: State,
  data: Dataset | tuple[Dataset, ...],
  *,
  epochs: int,
  batch_size: int,
) -> tuple[State, Metrics, Array | None]:
  """Fits as `scan_fit` does, and also returns the learning rates of steps.

  Returns:
    The state, the mean metrics of each epoch, and the rates [epochs, points],
    thinned to `LR_POINTS` a row; None where the steps report none.
  """
  plan = engine.turns(step, data)
  datas = engine.alike(plan.datas)
  run = engine.turn(plan, batch_size=batch_size)

  def body(state, e):
    state, metrics = run(key, state, datas, e)
    rates = metrics["lr"][_thinned(metrics["lr"])] if "lr" in metrics else None
    return state, (jax.tree.map(jnp.mean, metrics), rates)

  state, (means, rates) = jax.lax.scan(body, state, jnp.arange(epochs))
  return state, means, rates


class Store(Protocol):
  """Where `host_fit` saves stages; `checkpoint.Stages` is one."""

  def restore(self, name: str, like: State) -> tuple[State, list[Row]] | None:
    """Returns the newest saved state and its journal rows, if any."""
    ...

  def save(
    self, name: str, state: State, rows: list[Row], *, last: bool
  ) -> None:
    """Saves the state after `len(rows)` epochs, or skips if too soon."""
    ...


class Probe(NamedTuple):
  """What looks at a state in training now and then.

  Attributes:
    look: (stage, epochs done, epochs, state, trigger's parameters as they are
      while a backdoor is planted, or None) -> more columns of the row, such as
      the current accuracy; its time counts as evaluation. With a mesh, all
      devices hold the state.
    due: (epochs done, epochs, epochs of a turn) -> whether to look then.
  """

  look: Callable[[str, int, int, State, Params | None], Row]
  due: Callable[[int, int, int], bool] = lambda done, epochs, turn: True


BLIND = Probe(lambda *_: {}, lambda done, epochs, turn: False)


def host_fit(
  *,
  store: Store | None = None,
  journal: Journal | None = None,
  probe: Probe = BLIND,
  progress: Callable[[str, int, int, Row], None] = lambda *_: None,
  mesh: Mesh | None = None,
  unseen: float = UNSEEN,
) -> Fit:
  """Returns a fit that runs a few epochs at a time, as many as take a second.

  Args:
    store: saves and restores the state, and skips a finished stage, or None.
    journal: collects a row per epoch: stage, epoch, mean metrics, the learning
      rates, seconds, and what `probe` adds.
    probe: looks at the state where it is due.
    progress: called for every epoch with its row, and before the first, which
      begins with compiling, with none; of a stage that is resumed, instead of
      that with the newest one saved, and `RESUMED` in it.
    mesh: devices that share each batch, or as many of them as divide it, or
      None. What the fit takes and gives lies on one device.
    unseen: seconds that epochs may run without progress or saving; 0 runs one
      at a time.
  """
  journal = Journal() if journal is None else journal

  def fit(key, step, state, data, *, epochs, batch_size, name, params=None):
    with journal.counted():
      spans = _Spans(engine.turns(step, data), batch_size, mesh)
      saved = store.restore(name, state) if store else None
      # The caller keeps its arrays: a program donates the state it is given.
      state, rows = saved or (jax.tree.map(jnp.copy, state), [])
      key, state = spans.spread((key, state))
      if rows:
        progress(name, len(rows), epochs, rows[-1] | {RESUMED: True})
      elif epochs:
        progress(name, 0, epochs, {})
      pace, length = None, (epochs, spans.turns)
      while len(rows) < epochs:
        count = _reach(len(rows), length, probe.due, pace, unseen)
        state, new = spans.run(key, len(rows), count, state, name)
        pace = new[-1]["seconds_train"]
        if probe.due(len(rows) + count, *length):
          trigger = None if params is None else params(state)
          done = len(rows) + count
          new[-1] |= _timed(probe.look, name, done, epochs, state, trigger)
        for row in new:
          rows.append(row)
          progress(name, len(rows), epochs, row)
        if store:
          store.save(name, state, rows, last=len(rows) == epochs)
      journal.rows += rows
    return spans.gather(state), _means(rows)

  return fit


def _reach(
  done: int,
  length: tuple[int, int],
  due: Callable[[int, int, int], bool],
  pace: float | None,
  unseen: float,
) -> int:
  """Returns how many epochs to run before the next look."""
  if pace is None or unseen <= 0:
    return 1
  count = max(1, min(MOST, length[0] - done, int(unseen / max(pace, 1e-9))))
  count = hosts.agreed(count)
  return next((k for k in range(1, count) if due(done + k, *length)), count)


class _Spans:
  """Runs epochs of one fit, timed, and checks what comes out."""

  def __init__(
    self, plan: engine.Turns, batch_size: int, mesh: Mesh | None
  ) -> None:
    self._mesh = mesh and meshes.dividing(mesh, batch_size)
    self.turns = len(plan.step)
    self._datas = self.spread(engine.alike(plan.datas))
    self._function = _judged(
      engine.span(plan, batch_size=batch_size, most=MOST, mesh=self._mesh)
    )
    self._program: programs.Program | None = None

  def spread(self, tree: Any) -> Any:
    if self._mesh is None:
      return tree
    return meshes.place(tree, meshes.everywhere(self._mesh))

  def gather(self, tree: Any) -> Any:
    return tree if self._mesh is None else meshes.here(tree)

  def run(
    self, key: Key, first: int, count: int, state: State, name: str
  ) -> tuple[State, list[Row]]:
    bounds = self.spread((jnp.int32(first), jnp.int32(count)))
    args = (key, state, self._datas, *bounds)
    start = time.perf_counter()
    if self._program is None:
      self._program = programs.compiled(
        self._function, *args, donate=(1,), mesh=self._mesh
      )
    ready = time.perf_counter()
    state, metrics, sound = self._program(*args)
    metrics = jax.tree.map(np.asarray, metrics)
    seconds = (time.perf_counter() - ready) / count
    rows = []
    for i in range(count):
      one = {k: v[i] for k, v in metrics.items()}
      row = {"stage": name, "epoch": first + i + 1, **_summary(one)}
      if self.turns > 1:
        row["turn"] = f"{(first + i) % self.turns + 1}/{self.turns}"
      row["seconds_compile"] = 0.0 if i else ready - start
      row["seconds_train"] = seconds
      _check_finite(one, row)
      rows.append(row)
    if not sound:
      raise FloatingPointError(finite.DIVERGED)
    return state, rows


def _judged(span: Callable[..., tuple[State, Metrics]]) -> Callable[..., Any]:
  """Returns a span that also tells whether its classifiers stayed finite.

  In the program itself, so that no weights leave the devices for it.
  """

  def run(*args):
    state, metrics = span(*args)
    victims = [x.variables for x in learn.classifiers(state)]
    return state, metrics, finite.within(victims)

  return run


def _summary(metrics: dict[str, np.ndarray]) -> Row:
  row = {k: float(np.mean(v, dtype=np.float64)) for k, v in metrics.items()}
  row["metrics"] = sorted(metrics)
  if "lr" in metrics:
    places = _thinned(metrics["lr"])
    row["lr"] = metrics["lr"][places].astype(float).tolist()
  return row


def _thinned(rates: Array | np.ndarray) -> np.ndarray:
  """Returns the steps of an epoch whose rates are kept."""
  places = np.linspace(0, len(rates) - 1, LR_POINTS).round().astype(int)
  return np.unique(places)


def _check_finite(metrics: dict[str, np.ndarray], row: Row) -> None:
  bad = np.flatnonzero(~np.isfinite(metrics.get("loss", np.zeros(1))))
  if bad.size:
    raise FloatingPointError(
      f"stage {row['stage']}: the loss is {metrics['loss'][bad[0]]} at step "
      f"{bad[0]} of epoch {row['epoch']}; lower the learning rate."
    )


def _timed(look: Callable[..., Row], *args: Any) -> Row:
  start = time.perf_counter()
  row = look(*args)
  return row | {"seconds_eval": time.perf_counter() - start} if row else {}


def _means(rows: list[Row]) -> Metrics:
  names = rows[0]["metrics"] if rows else []
  return {k: np.array([row[k] for row in rows]) for k in names}
