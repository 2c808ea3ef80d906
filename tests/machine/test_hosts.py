"""Two processes train as one; one is killed, or told to stop; both go on."""

import glob
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import chex
import jax
import pytest
from jax._src import clusters
from jax._src.clusters import cloud_tpu_cluster
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
  "--config.train.epochs=24",
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


STEP = {
  "SLURM_JOB_ID": "7",
  "SLURM_STEP_NODELIST": "node[01-02]",
  "SLURM_PROCID": "0",
  "SLURM_LOCALID": "0",
}
MPI = {
  "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1:34911",
  "OMPI_COMM_WORLD_SIZE": "4",
  "OMPI_COMM_WORLD_RANK": "1",
}
TOLD = re.compile(
  "SLURM|OMPI|PMI|TPU|MEGASCALE|KUBERNETES|JOB_COMPLETION_INDEX|JAX_COORD"
)


@pytest.fixture
def started(monkeypatch):
  """Starts this process by a scheduler, as far as its environment says."""

  def start(**environ):
    for name in filter(TOLD.match, list(os.environ)):
      monkeypatch.delenv(name)
    for name, value in environ.items():
      monkeypatch.setenv(name, value)

  return start


@pytest.fixture
def tpu(monkeypatch):
  """Makes this a Cloud TPU machine; returns what its metadata server says."""
  said = {}

  def get(key):
    return said.get(key, "not found"), 200 if key in said else 404

  monkeypatch.setattr(cloud_tpu_cluster, "running_in_cloud_tpu_vm", True)
  monkeypatch.setattr(cloud_tpu_cluster, "get_metadata", get)
  return said


@pytest.fixture
def no_metadata(monkeypatch):
  """Fails a test that asks a metadata server."""

  def get(key):
    pytest.fail(f"asked for {key}")

  monkeypatch.setattr(cloud_tpu_cluster, "get_metadata", get)


@pytest.mark.parametrize(
  ("environ", "wanted"),
  [
    ({}, None),
    # A batch script, not yet in srun: there is no step.
    ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, None),
    (STEP | {"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4"}, 4),
    (STEP | {"SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "1"}, None),
    # A shell of salloc: a step of one task that keeps its job's environment.
    (STEP | {"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "1"}, None),
    (MPI, 4),
    (MPI | {"OMPI_COMM_WORLD_SIZE": "1"}, 1),
    # No TPU machine, whatever is set.
    ({"TPU_WORKER_HOSTNAMES": "a,b"}, None),
    # A pod that is of no job, or that no job has numbered.
    ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, None),
  ],
)
def test_clusters_are_recognized_by_jax(environ, wanted, started, no_metadata):
  started(**environ)
  found = hosts.cluster()
  assert found == (None if wanted is None else hosts.Cluster(wanted))


@pytest.mark.parametrize(
  ("environ", "wanted"),
  [
    ({"TPU_WORKER_HOSTNAMES": "a,b,c,d"}, 4),
    ({"TPU_WORKER_HOSTNAMES": "a,b", "MEGASCALE_NUM_SLICES": "3"}, 6),
    ({"TPU_WORKER_HOSTNAMES": "a", "MEGASCALE_NUM_SLICES": "2"}, 2),
    ({"TPU_WORKER_HOSTNAMES": "localhost"}, 1),
  ],
)
def test_tpus_on_gke_are_recognized(environ, wanted, started, tpu):
  started(TPU_WORKER_ID="0", **environ)
  assert hosts.cluster() == hosts.Cluster(wanted)


@pytest.mark.parametrize(
  ("said", "wanted"),
  [
    ({"worker-network-endpoints": "10.0.0.1,10.0.0.2"}, 2),
    ({"worker-network-endpoints": "a:1:10.0.0.1,b:2:10.0.0.2"}, 2),
    (
      {
        "worker-network-endpoints": "10.0.0.1,10.0.0.2",
        "tpu-env": "ZONE: 'x'\nMEGASCALE_NUM_SLICES: '2'",
      },
      4,
    ),
    ({"worker-network-endpoints": "10.0.0.1"}, 1),
  ],
)
def test_cloud_tpu_pods_are_recognized(said, wanted, started, tpu):
  started()
  tpu |= {"agent-worker-number": "0"} | said
  assert hosts.cluster() == hosts.Cluster(wanted)


def test_a_tpu_machine_that_is_to_ask_nobody_is_alone(
  started, tpu, no_metadata
):
  started(TPU_SKIP_MDS_QUERY="1", TPU_WORKER_HOSTNAMES="localhost")
  assert hosts.cluster() is None


def test_a_cluster_that_does_not_say_enough_is_refused(started):
  started(OMPI_MCA_orte_hnp_uri="1.0;tcp://10.96.0.1:34911")
  with pytest.raises(ValueError, match="OmpiCluster.*or --processes=1"):
    hosts.join()


@pytest.mark.parametrize("name", ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"])
def test_other_mpis_need_mpi4py(name, started, monkeypatch):
  started(**{name: "4"})
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with pytest.raises(ValueError, match="MPI has started 4.*install mpi4py"):
    hosts.join()
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: "there")
  assert hosts.cluster() == hosts.Cluster(4, "mpi4py")


@pytest.fixture
def meetings(monkeypatch):
  """Returns what `jax.distributed.initialize` is called with."""
  calls = []

  def initialize(*place, **options):
    calls.append((place, options["cluster_detection_method"]))
    if not any(place):
      raise ValueError("coordinator_address should be defined.")

  monkeypatch.setattr(jax.distributed, "initialize", initialize)
  monkeypatch.setattr(losses, "outlive_aborts", lambda: None)
  monkeypatch.setattr(jax.config, "update", lambda name, value: None)
  return calls


@pytest.mark.parametrize(
  ("environ", "place"),
  [
    ({}, hosts.NOWHERE),
    (STEP | {"SLURM_NTASKS": "1"}, hosts.NOWHERE),
    (MPI, hosts.Place(processes=1)),
  ],
)
def test_a_process_alone_waits_for_nobody(environ, place, started, meetings):
  started(**environ)
  assert not hosts.join(place)
  assert not meetings


def test_without_jax_own_detection_its_public_one_decides(
  started, meetings, monkeypatch
):
  started()
  monkeypatch.delattr(clusters, "ClusterEnv")
  assert not hosts.join()
  assert meetings == [((None, None, None), None)]


def test_jax_still_calls_its_clusters_as_here():
  names = {kind.__name__ for kind in clusters.ClusterEnv._cluster_types}
  assert names >= {"SlurmCluster", "K8sCluster", "GkeTpuCluster"}


def test_half_a_place_is_refused():
  with pytest.raises(ValueError, match="--processes is given.*--coordinator"):
    hosts.join(hosts.Place(processes=2))


def test_one_process_is_first_and_agrees_with_itself():
  assert hosts.first()
  assert hosts.agreed(True) and not hosts.agreed(False)
  hosts.meet("nobody else")
