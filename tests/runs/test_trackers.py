"""Trackers get every number of a finished cell, once, by its own name."""

import contextlib
import sys
import types

import numpy as np
import pytest

from bdjax.machine import storage
from bdjax.report import results
from bdjax.runs import trackers, workdir
from bdjax.runs.trackers import Cell
from bdjax.training.journal import Journal

ABOUT = {
  **{"attack": "lf", "regime": "fmn", "defense": "ft", "seed": 3},
  **{"dataset": "cifar10", "model": "cnn", "scenario": "standalone"},
}
RECORD = {
  **{"cell": "c", "planted": "p", **ABOUT, "config.train.epochs": 2},
  **{"config.attack.rate": None, "ca": 0.75, "asr": 0.25, "der": None},
}
ROWS = [
  {"cell": "p", "stage": "train", "epoch": 1, "loss": 2.0, "ca": 0.5},
  {"cell": "c", "stage": "ft", "epoch": 1, "loss": 1.0, "lr": [0.1, 0.2]},
  {"cell": "c", "stage": "ft", "epoch": 1, "loss": 0.5},  # after a crash
  {"cell": "other", "stage": "ft", "epoch": 1, "loss": 9.0},
  {"cell": "c", "stage": "ft", "epoch": 2, "loss": float("nan")},
  {"cell": "c", "stage": "ft", "epoch": 3, "loss": None},  # as files have nan
]
WHOLE = Cell(
  "c",
  "lf / fmn / ft / 3",
  "lf-fmn-ft-seed3",
  ABOUT | {"config.train.epochs": 2},
  [("train/loss", 1, 2.0), ("train/ca", 1, 0.5), ("ft/loss", 1, 0.5)],
  {"ca": 0.75, "asr": 0.25},
)


class Wandb:
  """Takes what the library's runs take, and notes it."""

  def __init__(self):
    self.runs = []

  def init(self, *, project, group, name, id, config, dir, mode, reinit):
    assert (project, group, name, id) == ("bdjax", "w", WHOLE.name, "c")
    assert (mode, reinit, config) == (
      "offline",
      "finish_previous",
      WHOLE.about,
    )
    run = types.SimpleNamespace(logged=[], summary={}, finished=0)
    run.define_metric = lambda name, step_metric=None: None
    run.log = run.logged.append

    def finish():
      run.finished += 1

    run.finish = finish
    self.runs.append(run)
    return run


class Mlflow:
  """Takes what the library takes, and notes it."""

  def __init__(self):
    self.noted = []

  def __getattr__(self, name):
    def note(*args, **how):
      self.noted.append((name, args, how))
      return contextlib.nullcontext()

    return note


def test_a_cell_is_its_record_and_its_curves():
  assert trackers.cell(RECORD, ROWS) == WHOLE


@pytest.fixture
def told(monkeypatch, tmp_path):
  """Returns a call that tells a library's stand-in of the cell."""

  def tell(name, library):
    monkeypatch.setitem(sys.modules, name, library)
    for variable in ("WANDB_MODE", "MLFLOW_TRACKING_URI"):
      monkeypatch.delenv(variable, raising=False)
    (tracker,) = trackers.opened([name], tmp_path / "w")
    tracker(WHOLE)
    return library

  return tell


def test_wandb_gets_points_by_epoch_and_the_final_numbers(told):
  (run,) = told("wandb", Wandb()).runs
  assert run.logged == [
    {"train/loss": 2.0, "epoch": 1},
    {"train/ca": 0.5, "epoch": 1},
    {"ft/loss": 0.5, "epoch": 1},
  ]
  assert run.summary == WHOLE.final and run.finished == 1


def test_mlflow_gets_points_by_epoch_and_the_final_numbers(told, tmp_path):
  assert told("mlflow", Mlflow()).noted == [
    ("set_tracking_uri", (f"sqlite:///{tmp_path}/w/mlflow.db",), {}),
    ("set_experiment", ("bdjax/w",), {}),
    ("start_run", (), {"run_name": WHOLE.name, "tags": {"cell": "c"}}),
    ("log_params", (WHOLE.about,), {}),
    ("log_metric", ("train/loss", 2.0), {"step": 1}),
    ("log_metric", ("train/ca", 0.5), {"step": 1}),
    ("log_metric", ("ft/loss", 0.5), {"step": 1}),
    ("log_metrics", (WHOLE.final,), {}),
  ]


def test_a_run_goes_on_without_a_tracker_that_fails(told, caplog):
  told("mlflow", types.SimpleNamespace(set_tracking_uri=lambda uri: None))
  assert "mlflow did not take lf / fmn / ft / 3 (AttributeError" in caplog.text


def test_tensorboard_has_a_file_for_each_cell(tmp_path):
  from tensorboardX.proto.event_pb2 import Event

  (tell,) = trackers.opened(["tensorboard"], tmp_path)
  tell(WHOLE)
  (file,) = (tmp_path / "tensorboard" / "lf-fmn-ft-seed3").iterdir()
  content, found = file.read_bytes(), {}
  while content:  # length, its checksum, the event, its checksum
    size = int(np.frombuffer(content[:8], np.uint64)[0])
    event = Event.FromString(content[12 : 12 + size])
    for value in event.summary.value:
      if value.WhichOneof("value") == "simple_value":
        found[value.tag] = event.step, value.simple_value
    content = content[16 + size :]
  assert found == {
    **{tag: (epoch, value) for tag, epoch, value in WHOLE.points},
    **{f"final/{key}": (0, value) for key, value in WHOLE.final.items()},
  }


def test_a_workdir_tells_of_cells_that_it_records(
  monkeypatch, tmp_path, config
):
  told = []
  known = {"fake": ("json", lambda library, workdir: told.append)}
  monkeypatch.setattr(trackers, "KNOWN", known)
  record = (
    RECORD
    | dict.fromkeys(set(results.REQUIRED) - RECORD.keys(), 0)
    | {"device": "cpu", "devices": 1}
  )
  with workdir.opened(tmp_path, config(), log_to=["fake"]) as work:
    journal = Journal()
    journal.rows.append({"stage": "train", "epoch": 1, "loss": 2.0})
    work.curves("p", journal)
    assert told == []
    work.record(record)
  (cell,) = told
  assert cell.points == [("train/loss", 1, 2.0)]
  with workdir.opened(tmp_path, config(), log_to=["fake"]) as work:
    assert work.records()  # a run that goes on finds it done
  assert told == [cell]


def test_what_cannot_be_told_is_refused_at_once(monkeypatch, tmp_path, bucket):
  with pytest.raises(ValueError, match="'comet', but must be some of tensorb"):
    trackers.opened(["comet"], tmp_path)
  monkeypatch.setitem(sys.modules, "wandb", None)
  with pytest.raises(ValueError, match=r"pip install 'bdjax\[wandb\]'"):
    trackers.opened(["wandb"], tmp_path)
  with pytest.raises(ValueError, match="trackers write into a local one"):
    trackers.opened(["wandb"], storage.place("gs://bucket/run"))
