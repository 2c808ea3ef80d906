"""A run's folder, local or in a bucket: what lies where, and whose it is.

config.json     the run's config
commands.json   the commands that it was run by
results.jsonl   a record per finished cell; nothing else says it is finished
curves.jsonl    a row per epoch of planting, defending and what comes after
sequela.jsonl   a record per model and sequel
diverged.jsonl  a record per cell that has no result since training diverged
pictures/       a few test images, clean and triggered, per planted model
findings/       pictures that a defense found, such as recovered triggers
models/         planted models (or the folder given as store); clean, shadow
                and defended ones where something needs them
stages/         half-finished trainings, removed when their cell is done
failures/       where cells failed last: a traceback of each
lock            who is at it, while a run is; see `locks`

In a bucket a log NAME.jsonl is a folder NAME, see `logs.append`.
"""

import contextlib
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from bdjax.machine import hosts, locks, notes, storage
from bdjax.machine.faults import Fault
from bdjax.machine.storage import Place
from bdjax.report import commands, results
from bdjax.runs import plans, trackers
from bdjax.runs.trackers import Tracker
from bdjax.training import checkpoint
from bdjax.training.journal import Journal
from bdjax.training.loop import UNSEEN

_BEFORE = ("config.json", "commands.json", "lock")  # anything is computed
_EMPTY = ("pictures", "findings", "models", "stages")  # then


class Workdir:
  """The folder of one run."""

  def __init__(
    self,
    path: Place,
    config: dict[str, Any],
    *,
    store: Place | None = None,
    save_seconds: float = 20.0,
    lock: locks.Lock | None = None,
    trackers: Sequence[Tracker] = (),
  ) -> None:
    """Opens or creates the folder for a config.

    Args:
      config: the run's; a later run may change its axes (attacks, regimes,
        defenses, seeds) and nothing else, unless nothing is computed yet.
      store: where planted models are kept; None keeps them in the folder.
      save_seconds: how often a stage under way is saved.
      lock: is asked before everything that is written.
      trackers: are told of each cell that is finished.

    Raises:
      ValueError: it cannot be written, or holds another config's results.
    """
    self.path, self._lock, self._trackers = path, lock, trackers
    self._reserved: set[str] = set()
    self._store = store or path / "models"
    self._save_seconds = save_seconds
    config = json.loads(json.dumps(config))
    anew = _differs(path / "config.json", config)
    with _writable("workdir", path):
      for folder in (path, path / "pictures", path / "findings"):
        storage.make(folder)
      with _writable("store", self._store):
        storage.make(self._store)
      hosts.meet("configs are read")
      if anew and self._mine():
        commands.write(path, [])  # those before are of the other config
      self._write("config.json", json.dumps(config, indent=2) + "\n")
    curves = path / "curves.jsonl"
    self._told = (
      results.read(curves, required=results.CURVE) if trackers else []
    )

  @property
  def unseen(self) -> float:
    """Seconds that training may go on between two chances to save."""
    return min(UNSEEN, self._save_seconds)

  def commanded(self, text: str) -> None:
    """Notes a command that the folder is run by, once."""
    known = commands.read(self.path)
    if text not in known and self._mine():
      commands.write(self.path, [*known, text])

  def records(self) -> dict[str, results.Record]:
    """Returns the finished cells' records by cell."""
    path = self.path / "results.jsonl"
    rows = results.read(path, required=results.REQUIRED)
    return {record["cell"]: record for record in rows}

  def record(self, record: results.Record) -> None:
    """Appends a finished cell's record."""
    self._append("results.jsonl", [record], results.REQUIRED)
    if self._trackers and hosts.first():
      for tell in self._trackers:
        tell(trackers.cell(record, self._told))

  def sequela(self) -> dict[str, results.Record]:
    """Returns the finished sequela's records by their cell."""
    path = self.path / "sequela.jsonl"
    rows = results.read(path, required=results.SEQUEL)
    return {record["cell"]: record for record in rows}

  def sequel(self, record: results.Record) -> None:
    """Appends a finished sequel's record."""
    self._append("sequela.jsonl", [record], results.SEQUEL)

  def diverged(self, record: results.Record) -> None:
    """Appends a cell that has diverged; a result that comes later counts."""
    self._append("diverged.jsonl", [record], results.DIVERGED)

  def curves(self, cell: str, journal: Journal) -> None:
    """Appends a cell's rows; a crash may repeat them, readers take the last."""
    rows = [
      {"cell": cell} | {k: v for k, v in row.items() if k != "metrics"}
      for row in journal.rows
    ]
    self._append("curves.jsonl", rows, results.CURVE)
    self._told += rows if self._trackers else ()

  def picture(self, planted: str, arrays: dict[str, np.ndarray]) -> None:
    """Writes a planted model's pictures."""
    self._arrays("pictures", planted, arrays)

  def findings(self, cell: str, arrays: dict[str, np.ndarray]) -> None:
    """Writes the pictures that a defense found, if any."""
    if arrays:
      self._arrays("findings", cell, arrays)

  def failure(self, cell: str, text: str) -> None:
    """Writes where a cell failed."""
    if self._mine():
      storage.make(self.path / "failures")
    self._write(f"failures/{cell}.txt", text)

  def _arrays(
    self, folder: str, name: str, arrays: dict[str, np.ndarray]
  ) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    self._write(f"{folder}/{name}.npz", buffer.getvalue())

  def _write(self, name: str, content: str | bytes) -> None:
    if self._mine():
      storage.write(self.path / name, content)

  def _append(
    self, name: str, rows: list[results.Record], required: tuple[str, ...]
  ) -> None:
    if self._mine():
      results.append(self.path / name, rows, required=required)

  def _mine(self) -> bool:
    """Returns whether this process writes, and still may."""
    if self._lock:
      self._lock.check()
    return hosts.first()

  @contextlib.contextmanager
  def reserved(self, *names: str) -> Iterator[None]:
    """Keeps other runs on the store from making models in the block.

    It waits for those that are at it, and not in a circle: all take models in
    the same order, and further ones only for what these are made of. A bucket
    cannot keep anyone away.
    """
    with contextlib.ExitStack() as stack:
      if not storage.remote(self._store):
        for name in sorted(set(names) - self._reserved):
          path = self._store / f"{name}.lock"
          stack.enter_context(locks.reserved(path, f"model {name}"))
          self._reserved.add(name)
          stack.callback(self._reserved.remove, name)
      yield

  def model(self, planted: str) -> Place:
    """Returns where a planted model's checkpoint lies, or will."""
    return self._store / planted

  def stages(self, cell: str) -> checkpoint.Stages:
    """Returns the store of a cell's stages."""
    folder = self.path / "stages" / cell
    return checkpoint.Stages(folder, every_seconds=self._save_seconds)


@contextlib.contextmanager
def opened(
  path: Place,
  config: dict[str, Any],
  *,
  store: Place | None = None,
  save_seconds: float = 20.0,
  log_to: Sequence[str] = (),
) -> Iterator[Workdir]:
  """Opens a workdir that no other run has open meanwhile; see `Workdir`.

  In a bucket another run cannot be kept away.

  Args:
    log_to: trackers, by name; see `trackers.opened`.

  Raises:
    ValueError: another run has it open, or as `Workdir` says.
  """
  told = trackers.opened(log_to, path)
  with contextlib.ExitStack() as stack:
    lock = None
    with _writable("workdir", path):
      storage.make(path)
      if not storage.remote(path):
        only = locks.only(path / "lock", f"the workdir {path}")
        lock = stack.enter_context(only)
    yield Workdir(
      path,
      config,
      store=store,
      save_seconds=save_seconds,
      lock=lock,
      trackers=told,
    )


@contextlib.contextmanager
def _writable(what: str, path: Place) -> Iterator[None]:
  try:
    yield
  except Fault as error:
    raise ValueError(
      f"cannot write to the {what} {path} ({error.reason}); give another one "
      f"with --{what}."
    ) from error


def _differs(path: Place, config: dict[str, Any]) -> bool:
  """Returns whether a folder is of another config, and may be this one's.

  Raises:
    ValueError: it may not, since something is computed.
  """
  content = results.read_object(path)
  if content is None:
    return False
  old, new = plans.identity(content), plans.identity(config)
  changed = [k for k in sorted(old | new) if old.get(k) != new.get(k)]
  if not changed:
    return False
  key = changed[0]
  about = f"workdir {path.parent} holds a run with {key}={old.get(key)!r}"
  if _untouched(path.parent):
    notes.say(f"{about}, of which nothing is computed: this one replaces it.")
    return True
  more = f" (and {len(changed) - 1} more)" if changed[1:] else ""
  raise ValueError(
    f"{about}, but this one has {new.get(key)!r}{more}; use another --workdir."
  )


def _untouched(folder: Place) -> bool:
  """Returns whether a run's folder holds nothing that was computed."""
  names = storage.names(folder)
  if not {*names} <= {*_BEFORE, *_EMPTY}:
    return False
  inner = [n for name in _EMPTY for n in storage.names(folder / name)]
  return all(name.endswith(".lock") for name in inner)
