"""Two processes train as one; one is killed, or told to stop; both go on."""

import glob
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import chex
import jax
import pytest
from orbax.checkpoint import v1 as ocp

from bdjax.machine import hosts, losses, preemption
from bdjax.report import results
from bdjax.training import checkpoint

TOP = Path(__file__).parents[2]
ARGS = (
  "--config=configs/quickstart.py",
  "--config.data.train_images=160",
  "--config.data.test_images=40",
  "--config.model.width=4",
  "--config.train.epochs=10",
  "--config.attack.name=badnets",
  "--config.defense.name=none",
  "--config.evaluate.curve_images=0",
  "--save_seconds=0",
)
PATIENCE = 200  # seconds; far more than needed, less than JAX's own


def start(workdir, *more):
  """Starts one process of a run."""
  return subprocess.Popen(
    [
      *(sys.executable, "-m", "bdjax.launch"),
      *ARGS,
      f"--workdir={workdir}",
      *more,
    ],
    cwd=TOP,
    env=os.environ | {"JAX_PLATFORMS": "cpu"},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def start_both(workdir):
  with socket.socket() as probe:
    probe.bind(("localhost", 0))
    port = probe.getsockname()[1]
  where = (f"--coordinator=localhost:{port}", "--processes=2")
  return [start(workdir, *where, f"--process_id={i}") for i in range(2)]


def finish(process):
  out, err = process.communicate(timeout=PATIENCE)
  return process.returncode, out, err


def numbers(workdir):
  """Returns what a run measured, without its times."""
  names = ("results.jsonl", "curves.jsonl")
  rows = [row for name in names for row in results.read(workdir / name)]
  kept = ("defense", "ca", "asr", "stage", "epoch", "loss", "devices")
  return [{k: row[k] for k in kept if k in row} for row in rows]


def weights(workdir):
  """Returns the arrays of a run's planted models."""
  found = {}
  for path in (workdir / "models").iterdir():
    saved = ocp.metadata(path.absolute()).metadata
    like = {k: jax.ShapeDtypeStruct(x.shape, x.dtype) for k, x in saved.items()}
    found[path.name] = checkpoint.load(path, like)
  return found


def signal_one(both, stage, number):
  """Signals the second process once a stage is saved; returns how both end."""
  until = time.monotonic() + PATIENCE
  while not glob.glob(str(stage)):
    assert time.monotonic() < until and both[1].poll() is None
    time.sleep(0.02)
  both[1].send_signal(number)
  return [finish(process) for process in both]


def test_two_processes_end_as_one_whatever_ends_one(tmp_path):
  alone = start(tmp_path / "alone", "--cpu_devices=2")
  trained = tmp_path / "both" / "stages" / "*" / "train"
  both = start_both(tmp_path / "both")
  (code, _, said), _ = signal_one(both, trained / "000002", signal.SIGKILL)
  assert code == losses.LOST
  (line,) = (li for li in said.splitlines() if li.startswith("error:"))
  assert "another process of this run is lost" in line
  assert "start all of them again" in line
  both = start_both(tmp_path / "both")
  for code, _, said in signal_one(both, trained / "000004", signal.SIGTERM):
    assert code == preemption.STATUS
    assert said.endswith(f"stopped by SIGTERM; {preemption.SAVED}\n")
  assert not (tmp_path / "both" / "results.jsonl").exists()
  again = [finish(process) for process in start_both(tmp_path / "both")]
  assert [code for code, _, _ in again] == [0, 0]
  assert "CA / ASR" in again[0][1] and "CA / ASR" not in again[1][1]
  assert finish(alone)[0] == 0
  found = numbers(tmp_path / "both")
  assert found == numbers(tmp_path / "alone")
  assert {row["devices"] for row in found if "devices" in row} == {2}
  chex.assert_trees_all_equal(
    weights(tmp_path / "both"), weights(tmp_path / "alone")
  )


def test_half_a_place_is_refused():
  with pytest.raises(ValueError, match="--processes is given.*--coordinator"):
    hosts.join(hosts.Place(processes=2))


def test_one_process_is_first_and_agrees_with_itself():
  assert hosts.first()
  assert hosts.agreed(True) and not hosts.agreed(False)
  hosts.meet("nobody else")
