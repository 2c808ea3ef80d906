"""Saves and restores pytrees with Orbax; a kill leaves nothing half-written.

Leaves are stored flat under their path's name, so that a checkpoint can be read
without this package, and an error can name the leaf that does not fit.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

import jax
from orbax.checkpoint import v1 as ocp

from bdjax.machine import hosts, preemption, storage
from bdjax.machine import mesh as meshes
from bdjax.machine.preemption import NOTICE
from bdjax.machine.storage import Place
from bdjax.training.loop import Row
from bdjax.types import State

logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax narrates each save


class Mismatch(ValueError):
  """A checkpoint that holds something else than what is asked for."""


def save(path: Place, tree: Any, *, note: dict | None = None) -> None:
  """Writes a tree of arrays, and a JSON-able note, as one checkpoint folder.

  The folder appears under its name only when it is whole.
  """
  flat = _flat(tree)
  if jax.process_count() > 1:  # arrays of one process alone are refused
    flat = meshes.place(flat, _home())
  where = storage.absolute(path)
  ocp.save(where, flat, custom_metadata=note, overwrite=True)


def load(path: Place, like: Any) -> Any:
  """Restores a tree.

  Args:
    path: the folder.
    like: arrays or `jax.ShapeDtypeStruct`s of the same structure.

  Raises:
    Mismatch: another structure, shape or dtype was saved; names the first.
  """
  shapes = {
    name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=_home())
    for name, x in _flat(like).items()
  }
  where = storage.absolute(path)
  _compare(path, ocp.metadata(where).metadata, shapes)
  arrays = ocp.load(where, shapes)
  if jax.process_count() > 1:
    arrays = meshes.here(arrays)
  leaves = [arrays[name] for name in shapes]
  return jax.tree.unflatten(jax.tree.structure(like), leaves)


def note(path: Place) -> dict:
  """Returns the note that was saved with a checkpoint."""
  return ocp.metadata(storage.absolute(path)).custom_metadata or {}


def exists(path: Place) -> bool:
  """Returns whether a whole checkpoint lies there."""
  if storage.remote(path):
    return storage.committed(path)
  whole = path.is_dir() and any(path.iterdir())
  return whole and ocp.is_orbax_checkpoint(path.absolute())


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
    """Returns the stage's newest saved state and its rows, or None."""
    saved = self._saved(name)
    if not saved:
      return None
    return load(saved[-1], like), note(saved[-1])["rows"]

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
