"""Clusters are found as JAX does; their processes answer a roll call."""

import importlib.util
import inspect
import os
import re

import jax
import pytest
from jax._src import clusters
from jax._src.clusters import cloud_tpu_cluster

from bdjax.machine import hosts, losses, rollcall

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


PORT = 65535 - 2**12 + 1 + 7  # which JAX makes of the job's number


@pytest.mark.parametrize(
  ("environ", "address"),
  [
    ({}, f"node01:{PORT}"),
    ({"JAX_COORDINATOR_PORT": "7788"}, "node01:7788"),
    ({"JAX_COORDINATOR_ADDRESS": "other:9"}, "other:9"),
    ({"JAX_COORDINATOR_BIND_ADDRESS": "[::]:9"}, None),
  ],
)
def test_who_is_started_by_slurm_answers_a_roll_call(
  environ, address, started, meetings, monkeypatch
):
  calls = []
  monkeypatch.setattr(rollcall, "answer", lambda *args: calls.append(args))
  monkeypatch.setattr(jax, "process_count", lambda: 4)
  monkeypatch.setattr(hosts, "_share_notices", lambda: None)
  step = {"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2"}
  started(**STEP | step | environ)
  if address is None:  # it is not said where to meet before JAX does
    with pytest.raises(ValueError, match="should be defined"):
      hosts.join()
    assert calls == [] and meetings == [((None, None, None), None)]
  else:
    assert hosts.join()
    assert calls == [(address, rollcall.Caller(4, 2), rollcall.BY_CLUSTER)]
    assert meetings == [((address, 4, 2), None)]


def test_without_jax_own_detection_its_public_one_decides(
  started, meetings, monkeypatch
):
  started()
  monkeypatch.delattr(clusters, "ClusterEnv")
  assert not hosts.join()
  assert meetings == [((None, None, None), None)]


def test_jax_still_calls_its_clusters_as_here():
  kinds = clusters.ClusterEnv._cluster_types
  names = {kind.__name__ for kind in kinds}
  assert names >= {"SlurmCluster", "K8sCluster", "GkeTpuCluster"}
  for kind in kinds:
    asked = inspect.signature(kind.get_coordinator_address).parameters
    assert list(asked) == ["timeout_secs", "override_coordinator_port"]
