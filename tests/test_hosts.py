"""Two processes train as one; one is killed, both start again."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bdjax import hosts, launch

TOP = Path(__file__).parent.parent
ARGS = (
  "--config=configs/quickstart.py",
  "--config.data.train_images=160",
  "--config.data.test_images=40",
  "--config.model.width=4",
  "--config.train.epochs=6",
  "--config.attack.name=badnets",
  "--config.defense.name=none",
  "--config.evaluate.curve_images=0",
  "--save_seconds=0",
)
PATIENCE = 200  # seconds; far more than needed, less than JAX's own


def start(workdir, *more):
  """Starts one process of a run."""
  environ = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
  cache = {"JAX_COMPILATION_CACHE_DIR": str(TOP / ".jax_cache")}
  return subprocess.Popen(
    [
      *(sys.executable, "-m", "bdjax.launch"),
      *ARGS,
      f"--workdir={workdir}",
      *more,
    ],
    cwd=TOP,
    env=environ | {"JAX_PLATFORMS": "cpu"} | cache,
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
  rows = [
    json.loads(line)
    for name in ("results.jsonl", "curves.jsonl")
    for line in (workdir / name).read_text().splitlines()
  ]
  kept = ("defense", "ca", "asr", "stage", "epoch", "loss", "devices")
  return [{k: row[k] for k in kept if k in row} for row in rows]


def test_two_processes_survive_the_loss_of_one(tmp_path):
  alone = start(tmp_path / "alone", "--cpu_devices=2")
  both = start_both(tmp_path / "both")
  stages, until = tmp_path / "both" / "stages", time.monotonic() + PATIENCE
  while not list(stages.glob("*/train/000002")):
    assert time.monotonic() < until and both[1].poll() is None
    time.sleep(0.02)
  both[1].send_signal(signal.SIGKILL)
  finish(both[1])
  code, _, said = finish(both[0])
  assert code == launch.LOST
  (line,) = (li for li in said.splitlines() if li.startswith("error:"))
  assert "another process of this run is lost" in line
  assert "start all of them again" in line
  assert not (tmp_path / "both" / "results.jsonl").exists()
  again = [finish(process) for process in start_both(tmp_path / "both")]
  assert [code for code, _, _ in again] == [0, 0]
  assert "CA / ASR" in again[0][1] and "CA / ASR" not in again[1][1]
  assert finish(alone)[0] == 0
  found = numbers(tmp_path / "both")
  assert found == numbers(tmp_path / "alone")
  assert {row["devices"] for row in found if "devices" in row} == {2}


@pytest.mark.parametrize(
  ("environ", "wanted"),
  [
    ({}, False),
    ({"SLURM_NTASKS": "4"}, False),  # a batch script, not yet in srun
    (
      {"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_STEP_ID": "0"},
      True,
    ),
    (
      {
        "SLURM_NTASKS": "4",
        "SLURM_STEP_NUM_TASKS": "1",
        "SLURM_PROCID": "0",
        "SLURM_STEP_ID": "0",
      },
      False,
    ),
    ({"TPU_WORKER_HOSTNAMES": "a,b"}, True),
    ({"TPU_WORKER_HOSTNAMES": "localhost"}, False),
  ],
)
def test_schedulers_are_recognized(environ, wanted):
  assert hosts.several(environ) == wanted


def test_half_a_place_is_refused():
  with pytest.raises(ValueError, match="--processes is given.*--coordinator"):
    hosts.join(hosts.Place(processes=2))


def test_one_process_is_first_and_agrees_with_itself():
  assert hosts.first()
  assert hosts.agreed(True) and not hosts.agreed(False)
  hosts.meet("nobody else")
