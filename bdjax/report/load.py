"""A work directory, read: the only place of the report that opens files."""

import io
import os
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from bdjax.machine import notes, storage
from bdjax.machine.storage import Place
from bdjax.report import commands, divergence, results
from bdjax.report.judging import NONE, STANDING

T = TypeVar("T")


class Picture(NamedTuple):
  """Examples of one planted backdoor's trigger."""

  clean: np.ndarray  # [K, H, W, C] uint8
  triggered: np.ndarray  # [K, H, W, C] uint8
  label: list[str]  # true class of each, by name where names are known
  target: list[str]  # class the adversary wants
  names: list[str] = []  # of all classes, where known


class Run(NamedTuple):
  """Everything that a report shows."""

  workdir: Place
  config: dict[str, Any]
  cells: list[results.Record]  # as recorded, one per cell
  records: list[results.Record]  # and the undefended models they started from
  curves: dict[str, list[results.Record]]  # cell or planted id -> its rows
  pictures: dict[str, Picture]  # planted id -> examples
  findings: dict[str, dict[str, np.ndarray]]  # cell -> name -> [n, H, W, C]
  sequela: list[results.Record]  # as recorded, one per model and sequel
  diverged: list[results.Record] = []  # cells that have no result, therefore
  why: list[dict[str, Any]] = []  # what an analysis saw of models
  commands: list[str] = []  # that the folder was run by, in their order


def load(workdir: str | os.PathLike[str] | Run) -> Run:
  """Reads a work directory; only its results must be there.

  The shards of a run that was given out to several jobs lie in its folders
  `shard-*` and are read as one. A run that was read is returned.

  Raises:
    ValueError: the directory holds no record, or a broken one.
  """
  if isinstance(workdir, Run):
    return workdir
  workdir = storage.place(workdir)
  parts = _parts(workdir)
  records = _once(_records("results.jsonl", parts, results.REQUIRED))
  if not records:
    raise ValueError(
      f"{workdir} holds no results (results.jsonl is missing or empty); run an "
      "experiment into it first, or name another work directory."
    )
  lost = _records("diverged.jsonl", parts, results.DIVERGED)
  configs = (results.read_object(part / "config.json") for part in parts)
  return Run(
    workdir=workdir,
    config=next(filter(None, configs), {}),
    cells=records,
    records=_planted(_undefended(records) + records),
    curves=_joined(_curves(part / "curves.jsonl") for part in parts),
    pictures=_joined(_pictures(part / "pictures", records) for part in parts),
    findings=_joined(_findings(part / "findings", records) for part in parts),
    sequela=_records("sequela.jsonl", parts, results.SEQUEL),
    diverged=divergence.without(lost, records),
    why=_why(workdir / "analysis"),
    commands=_commands(parts),
  )


def recorded(workdir: str | os.PathLike[str]) -> list[results.Record]:
  """Returns every record of a work directory, also what others replace."""
  parts = _parts(storage.place(workdir))
  return _rows("results.jsonl", parts, results.REQUIRED)


def _parts(workdir: Place) -> list[Place]:
  """Returns a work directory and its shards."""
  shards = [n for n in storage.names(workdir) if n.startswith("shard-")]
  return [workdir, *(workdir / name for name in shards)]


def _commands(folders: Iterable[Place]) -> list[str]:
  """Returns the commands of folders, each once."""
  found = (text for folder in folders for text in commands.read(folder))
  return list(dict.fromkeys(found))


def _records(
  name: str, folders: Iterable[Place], required: tuple[str, ...]
) -> list[results.Record]:
  """Returns the records of the logs that are there, the last of each cell."""
  return results.latest(_rows(name, folders, required), "cell")


def _rows(
  name: str, folders: Iterable[Place], required: tuple[str, ...]
) -> list[results.Record]:
  return [
    record
    for folder in folders
    for record in results.read(folder / name, required=required)
  ]


def _joined(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
  return {name: value for part in parts for name, value in part.items()}


def _once(records: list[results.Record]) -> list[results.Record]:
  """Leaves out undefended models that are there under a newer name, too.

  Earlier versions gave that of a transfer one name for all users.
  """
  again = {_model(r) for r in records if r["defense"] == NONE and _told(r)}
  return [
    record
    for record in records
    if record["defense"] != NONE or _told(record) or _model(record) not in again
  ]


def _told(record: results.Record) -> bool:
  return bool(record.get("protocol"))


def _undefended(records: list[results.Record]) -> list[results.Record]:
  """Returns what the cells tell about models that have no cell `none`."""
  known = {_model(r) for r in records if r["defense"] == NONE}
  return [
    record | _before(record)
    for record in results.latest(records, *results.MODEL)
    if _model(record) not in known
  ]


def _model(record: results.Record) -> tuple:
  return tuple(record[key] for key in results.MODEL)


def _planted(records: list[results.Record]) -> list[results.Record]:
  """Adds what a model was in its own task where a defense worked in another.

  That is the ASR with which it left, `asr_planted`: without a backdoor there,
  nothing is left elsewhere to be removed. And its accuracy, `ca_planted`, among
  `classes_planted`: without any there was no backdoor.
  """
  before = {_model(r): r for r in records if r["defense"] == NONE}

  def own(record):
    model = before[_model(record)]
    return {
      "asr_planted": model["asr"],
      "ca_planted": model["ca"],
      "classes_planted": model.get("classes"),
    }

  return [
    record
    if record["defense"] == NONE or record["asr_before"] is not None
    else record | own(record)
    for record in records
  ]


def _before(record: results.Record) -> results.Record:
  before = {name: record[f"{name}_before"] for name in ("ca", "asr", "ra")}
  measured = *results.COSTS, *results.FOUND, *results.ELSEWHERE
  after = {*measured, "asr_incl", "der"}
  rest = dict.fromkeys(
    key for key in record if key in after or key.startswith("memo.")
  )
  cell = f"{record['cell']}{STANDING}"
  return {**rest, **before, "defense": NONE, "cell": cell, "protocol": None}


def _curves(path: Place) -> dict[str, list[results.Record]]:
  cells: dict[str, list[results.Record]] = {}
  rows = results.read(path, required=results.CURVE)
  for row in results.latest(rows, *results.CURVE):
    cells.setdefault(row["cell"], []).append(row)
  return cells


def _pictures(
  folder: Place, records: list[results.Record]
) -> dict[str, Picture]:
  return _arrays(folder, (record["planted"] for record in records), _picture)


def _findings(
  folder: Place, records: list[results.Record]
) -> dict[str, dict[str, np.ndarray]]:
  return _arrays(folder, (record["cell"] for record in records), _decoded)


def _why(folder: Place) -> list[dict[str, Any]]:
  """Returns the parts of an analysis, without those that are damaged."""
  sound = []
  for name in storage.names(folder):
    if name.endswith(".json"):
      try:
        sound.append(results.read_object(folder / name) or {})
      except ValueError as error:
        notes.say(f"not shown: {error}")
  return [part for part in sound if part.keys() >= {*results.PART}]


def _arrays(
  folder: Place,
  wanted: Iterable[str],
  convert: Callable[[dict[str, np.ndarray]], T],
) -> dict[str, T]:
  """Returns the files NAME.npz that are there, converted, by name.

  One that is damaged is left out and said: it is only to look at.
  """
  there = set(storage.names(folder))
  names = [n for n in dict.fromkeys(wanted) if f"{n}.npz" in there]
  paths = [folder / f"{name}.npz" for name in names]
  sound = {}
  for name, path, content in zip(
    names, paths, storage.read_all(paths), strict=True
  ):
    try:
      sound[name] = convert(_unpacked(content))
    except Exception:  # NumPy, zipfile and zlib raise nearly anything
      notes.say(f"{path} is damaged and not shown; you may delete it.")
  return sound


def _unpacked(content: bytes) -> dict[str, np.ndarray]:
  with np.load(io.BytesIO(content), allow_pickle=False) as file:
    return {name: file[name] for name in file.files}


def _decoded(data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  return {name: _images(array) for name, array in data.items()}


def _images(array: np.ndarray) -> np.ndarray:
  """Returns [n, H, W, C] uint8, C 1 or 3, if that is what it is."""
  if array.ndim != 4 or array.shape[3] not in (1, 3) or array.dtype != np.uint8:
    raise ValueError(f"{array.shape} {array.dtype} are no pictures")
  return array


def _picture(data: dict[str, np.ndarray]) -> Picture:
  names = data.get("class_names")

  def words(index: np.ndarray) -> list[str]:
    return [str(i if names is None else names[i]) for i in index]

  clean, triggered = _images(data["clean"]), _images(data["triggered"])
  return Picture(
    clean=clean,
    triggered=triggered.reshape(clean.shape),
    label=words(data["label"]),
    target=words(data["target"]),
    names=words(range(len(names))) if names is not None else [],
  )
