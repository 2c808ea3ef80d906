"""Saves and restores pytrees with Orbax; a kill leaves nothing half-written.

A checkpoint in a folder is sealed by checksums. What is damaged is moved aside
and said, so that what it held is trained again.

Leaves are stored flat under their path's name, so that a checkpoint can be read
without this package, and an error can name the leaf that does not fit.
"""

import contextlib
import errno
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from bdjax.machine import hosts, notes, preemption, seals, storage
from bdjax.machine import mesh as meshes
from bdjax.machine.faults import Fault, code, faults
from bdjax.machine.preemption import NOTICE
from bdjax.machine.storage import Place
from bdjax.training.journal import Row
from bdjax.types import State

# Orbax narrates each save, and what it raises in each of its threads.
logging.getLogger("absl").setLevel(logging.CRITICAL)
_DAMAGE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)  # other faults pass


class Mismatch(ValueError):
  """A checkpoint that holds something else than what is asked for."""


class Damaged(ValueError):
  """A checkpoint that cannot be read, or is not what was written."""


def save(path: Place, tree: Any, *, note: dict | None = None) -> None:
  """Writes a tree of arrays, and a JSON-able note, as one checkpoint folder.

  The folder appears under its name only when it is whole.

  Raises:
    Fault: it cannot be written.
  """
  flat = _flat(tree)
  if jax.process_count() > 1:  # arrays of one process alone are refused
    flat = meshes.place(flat, _home())
  where = storage.absolute(path)
  with faults(path, "write"):
    ocp.save(where, flat, custom_metadata=note, overwrite=True)
    if hosts.first() and not storage.remote(path):
      seals.seal(path)


def load(path: Place, like: Any) -> Any:
  """Restores a tree.

  Args:
    like: arrays or `jax.ShapeDtypeStruct`s of the same structure.

  Raises:
    Mismatch: another structure or shape was saved; names the first.
    Damaged: it is not what was saved.
    Fault: the system refuses to read it.
  """
  shapes = {
    name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=_home())
    for name, x in _flat(like).items()
  }
  where = storage.absolute(path)
  _check_seal(path)
  with _reading(path):
    _compare(path, ocp.metadata(where).metadata, shapes)
    arrays = ocp.load(where, shapes)
  if jax.process_count() > 1:
    arrays = meshes.here(arrays)
  leaves = [arrays[name] for name in shapes]
  return jax.tree.unflatten(jax.tree.structure(like), leaves)


def note(path: Place) -> dict:
  """Returns the note that was saved with a checkpoint that `load` has read.

  Its checksums are not checked again.

  Raises:
    Damaged: there is none any more, or it cannot be read.
  """
  with _reading(path):
    return ocp.metadata(storage.absolute(path)).custom_metadata or {}


def exists(path: Place) -> bool:
  """Returns whether a checkpoint lies there, damaged or not."""
  if storage.remote(path):
    return storage.committed(path)
  return path.exists() and (path.is_file() or bool(storage.names(path)))


def restore(path: Place, like: Callable[[], Any]) -> Any | None:
  """Returns what was saved, or None if nothing is there, or only damage.

  What is damaged is moved aside.

  Args:
    like: gives the shapes, see `load`.

  Raises:
    Mismatch: something else was saved.
    Fault: the system refuses to read it, or to move it.
  """
  if not exists(path):
    return None
  try:
    return load(path, like())
  except Damaged as damage:
    _set_aside(path, damage)
  return None


def _set_aside(path: Place, damage: Damaged) -> None:
  hosts.meet("damage is known")
  if hosts.first():
    aside = storage.set_aside(path)
    notes.say(f"{damage}; it is now {aside.name}, and is made again.")
  hosts.meet("damage is moved")


def _check_seal(path: Place) -> None:
  if not storage.remote(path) and (words := seals.damage(path)):
    raise Damaged(f"checkpoint {path} is damaged: {words}")


@contextlib.contextmanager
def _reading(path: Place) -> Iterator[None]:
  """Has all that a damaged checkpoint may raise in the block be `Damaged`."""
  try:
    yield
  except (Mismatch, MemoryError, jax.errors.JaxRuntimeError):
    raise
  except Exception as error:  # Orbax raises nearly anything
    number = code(error)
    if number is not None and number not in _DAMAGE:
      raise Fault(path, "read", error) from error
    raise Damaged(
      f"checkpoint {path} is damaged: Orbax cannot read it"
    ) from error


class Stages:
  """The state of a run's stages, saved now and then; see `loop.Store`."""

  def __init__(
    self,
    folder: Place,
    *,
    every_seconds: float = 20.0,
    clock: Callable[[], float] = time.monotonic,
  ) -> None:
    """Keeps stages in `folder`, saving every so many seconds and at the end."""
    self._folder = folder
    self._every = every_seconds
    self._clock = clock
    self._last = clock()

  def restore(self, name: str, like: State) -> tuple[State, list[Row]] | None:
    """Returns the stage's newest sound state and its rows, or None."""
    for path in reversed(self._saved(name)):
      state = restore(path, lambda: like)
      # Without rows it is what a kill has left of one that was removed.
      if state is not None and "rows" in (kept := note(path)):
        return state, kept["rows"]
    return None

  def save(
    self, name: str, state: State, rows: list[Row], *, last: bool
  ) -> None:
    """Saves the state unless the previous save is too recent.

    Raises:
      Stopped: it was saved because the machine is about to be taken away.
    """
    due = last or self._clock() - self._last >= self._every
    stop, due = divmod(hosts.agreed(2 * NOTICE.came() + due), 2)
    if not (stop or due):
      return
    older = self._saved(name)
    save(self._folder / name / f"{len(rows):06d}", state, note={"rows": rows})
    if hosts.first():
      for path in older:
        storage.remove(path)
    self._last = self._clock()
    if stop:
      raise preemption.Stopped

  def clear(self) -> None:
    """Removes all stages."""
    hosts.meet("stages are done")
    if hosts.first():
      storage.remove(self._folder)

  def _saved(self, name: str) -> list[Place]:
    folder = self._folder / name
    paths = [folder / n for n in storage.names(folder) if n.isdigit()]
    return [path for path in paths if exists(path)]


def _home() -> jax.sharding.Sharding:
  if jax.process_count() > 1:
    return meshes.everywhere(meshes.make())
  return jax.sharding.SingleDeviceSharding(jax.local_devices()[0])


def _flat(tree: Any) -> dict[str, Any]:
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {
    jax.tree_util.keystr(path, simple=True, separator="."): leaf
    for path, leaf in leaves
  }


def _compare(
  path: Place, saved: dict[str, Any], shapes: dict[str, Any]
) -> None:
  for name in sorted(saved.keys() | shapes.keys()):
    here, there = shapes.get(name), saved.get(name)
    if here is None or there is None:
      where = "only in the checkpoint" if here is None else "not in it"
      raise Mismatch(
        f"checkpoint {path} is of another model: {name} is {where}; use "
        "another folder, or the config that made it."
      )
    if tuple(here.shape) != tuple(there.shape):
      raise Mismatch(
        f"checkpoint {path} is of another model: {name} has shape "
        f"{tuple(there.shape)}, but {tuple(here.shape)} is needed; use another "
        "folder, or the config that made it."
      )
