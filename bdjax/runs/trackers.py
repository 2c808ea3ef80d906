"""What a run measures, for TensorBoard, Weights & Biases and MLflow as well.

A tracker is told of each cell when its record is written, and then gets all of
it: the curves of planting and of the defense by epoch, the final numbers, the
config and what the cell is. A run that goes on later does not tell of cells
that were finished before, so nothing is logged twice; a kill between a record
and its telling leaves that cell untold. Runs of a tracker are named attack /
regime / defense / seed and grouped by the work directory.
"""

import contextlib
import importlib
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bdjax.machine import notes
from bdjax.machine.storage import Place
from bdjax.report import results

PROJECT = "bdjax"
WRITTEN = ("accuracy", "loss", "ca", "asr", "ra")  # of a row of a curve
FINAL = (*results.METRICS, *results.BEFORE, *results.COSTS, "train_accuracy")
ABOUT = ("dataset", "model", "attack", "regime", "scenario", "defense", "seed")


class Cell(NamedTuple):
  """A finished cell, as trackers take it.

  Attributes:
    id: its name in results.jsonl.
    name: for people.
    folder: the same, as file systems take it.
    about: what it is, and its config, as texts and numbers.
    points: (`stage/metric`, epoch, value) in the order they were measured.
    final: its numbers by name.
  """

  id: str
  name: str
  folder: str
  about: dict[str, Any]
  points: list[tuple[str, int, float]]
  final: dict[str, float]


Tracker = Callable[[Cell], None]


def cell(record: results.Record, rows: Sequence[results.Record]) -> Cell:
  """Returns a record and its curves for a tracker.

  Args:
    record: of a finished cell.
    rows: of curves.jsonl, of any cells; those of the planted model count too.
  """
  wanted = (record["planted"], record["cell"])
  mine = [row for row in rows if row["cell"] in wanted]
  about = {key: record[key] for key in ABOUT}
  about |= {k: v for k, v in record.items() if k.startswith("config.")}
  return Cell(
    record["cell"],
    " / ".join(str(record[k]) for k in ("attack", "regime", "defense", "seed")),
    results.called(record),
    {k: v for k, v in about.items() if v is not None},
    [
      (f"{row['stage']}/{metric}", row["epoch"], float(row[metric]))
      for row in results.latest(mine, *results.CURVE)
      for metric in WRITTEN
      if row.get(metric) is not None and math.isfinite(row[metric])
    ],
    {k: float(record[k]) for k in FINAL if record.get(k) is not None},
  )


def opened(names: Sequence[str], workdir: Place) -> list[Tracker]:
  """Returns the trackers of such names.

  Args:
    names: some of `KNOWN`.
    workdir: a local one, in which they keep what they write.

  Raises:
    ValueError: one is unknown, or its package is not installed.
  """
  if names and not isinstance(workdir, Path):
    raise ValueError(
      f"--log_to is {','.join(names)}, but the workdir is {workdir}: trackers "
      "write into a local one."
    )
  return [_opened(name, Path(workdir)) for name in dict.fromkeys(names)]


def _opened(name: str, workdir: Path) -> Tracker:
  if name not in KNOWN:
    raise ValueError(
      f"--log_to is {name!r}, but must be some of {','.join(KNOWN)}."
    )
  package, make = KNOWN[name]
  try:
    library = importlib.import_module(package)
  except ModuleNotFoundError as error:
    raise ValueError(
      f"--log_to={name} needs {package}: pip install 'bdjax[{name}]'."
    ) from error
  return _lenient(name, make(library, workdir))


def _lenient(name: str, tell: Tracker) -> Tracker:
  """Returns a tracker that says so, and lets the run go on, where it fails."""

  def told(cell: Cell) -> None:
    try:
      tell(cell)
    except Exception as error:  # servers and disks of others
      notes.say(
        f"{name} did not take {cell.name} ({type(error).__name__}: {error}); "
        "the run goes on, and its own records are whole."
      )

  return told


def _tensorboard(library: Any, workdir: Path) -> Tracker:
  def tell(cell: Cell) -> None:
    folder = workdir / "tensorboard" / cell.folder
    with library.SummaryWriter(str(folder)) as writer:
      for tag, epoch, value in cell.points:
        writer.add_scalar(tag, value, epoch)
      for key, value in cell.final.items():
        writer.add_scalar(f"final/{key}", value, 0)
      rows = "".join(f"| {k} | {v} |\n" for k, v in cell.about.items())
      writer.add_text("about", f"| | |\n|---|---|\n{rows}", 0)

  return tell


def _wandb(library: Any, workdir: Path) -> Tracker:
  def tell(cell: Cell) -> None:
    run = library.init(
      project=PROJECT,
      group=workdir.name,
      name=cell.name,
      id=cell.id,
      config=cell.about,
      dir=str(workdir),
      mode=os.environ.get("WANDB_MODE", "offline"),
      reinit="finish_previous",
    )
    with contextlib.ExitStack() as stack:
      stack.callback(run.finish)
      run.define_metric("epoch")
      run.define_metric("*", step_metric="epoch")
      for tag, epoch, value in cell.points:
        run.log({tag: value, "epoch": epoch})
      run.summary.update(cell.final)

  return tell


def _mlflow(library: Any, workdir: Path) -> Tracker:
  if not os.environ.get("MLFLOW_TRACKING_URI"):
    library.set_tracking_uri(f"sqlite:///{workdir.resolve()}/mlflow.db")

  def tell(cell: Cell) -> None:
    library.set_experiment(f"{PROJECT}/{workdir.name}")
    with library.start_run(run_name=cell.name, tags={"cell": cell.id}):
      library.log_params(cell.about)
      for tag, epoch, value in cell.points:
        library.log_metric(tag, value, step=epoch)
      library.log_metrics(cell.final)

  return tell


KNOWN: dict[str, tuple[str, Callable[[Any, Path], Tracker]]] = {
  "tensorboard": ("tensorboardX", _tensorboard),
  "wandb": ("wandb", _wandb),
  "mlflow": ("mlflow", _mlflow),
}
