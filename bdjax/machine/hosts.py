"""Several processes that train as one: how they meet, and who writes.

Each process loads the same data and computes the same randomness; only the
epochs of `loop.host_fit` and the chunks of a sweep are shared, over the devices
of all. The first process writes results, all take part in saving checkpoints.
"""

import contextlib
import functools
import importlib.util
import os
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from bdjax.machine import losses, preemption, rollcall
from bdjax.machine.preemption import NOTICE

T = TypeVar("T")
SILENCE = 45  # seconds without a sign of life after which a process is lost
_MPI = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")  # Open MPI; MPICH and Intel MPI
_STOP = "bdjax/stop"  # the key under which processes tell of a notice


class Place(NamedTuple):
  """Where processes meet, and which of them this is; None: found by JAX."""

  coordinator: str | None = None
  processes: int | None = None
  process_id: int | None = None


class Cluster(NamedTuple):
  """What started this process, and as one of how many."""

  processes: int
  method: str | None = None  # JAX's name of it, if JAX must be told


NOWHERE = Place()  # not told: the cluster says, or there is one process
REMEDY = (
  "give --coordinator, --processes and --process_id, or --processes=1 if this "
  "process is alone."
)


def cluster() -> Cluster | None:
  """Returns the cluster that this process is in, by JAX's own detection.

  JAX knows Open MPI, SLURM, Cloud TPU machines, TPUs on GKE, slices that work
  together, and Kubernetes with its own package; see
  `jax.distributed.initialize`, which would wait or fail where there is only
  one process. Only on a TPU machine is a metadata server asked.

  Raises:
    ValueError: JAX cannot tell how many processes there are.
    ImportError, AttributeError: this JAX no longer has what is asked here.
  """
  kind = _kind()
  if kind is None:
    return _by_mpi()
  return Cluster(_asked(kind, kind.get_process_count))


def _kind() -> Any | None:
  """Returns JAX's class of the cluster that this process is in, if any."""
  from jax._src.clusters import ClusterEnv  # private, and used nowhere else

  for kind in ClusterEnv._cluster_types:
    if kind.opt_in_only_method or _alone(kind.__name__, os.environ):
      continue
    if _asked(kind, kind.is_env_present):
      return kind
  return None


def _asked(kind: Any, question: Callable[[], T]) -> T:
  try:
    return question()
  except AttributeError:
    raise
  except Exception as error:  # networks and parsers raise nearly anything
    raise ValueError(
      f"this looks like a cluster ({kind.__name__}), but JAX cannot say which "
      f"processes it has ({error!r}): {REMEDY}"
    ) from error


def _place(processes: int) -> Place:
  """Returns where the processes of JAX's cluster will meet, as JAX finds it.

  Raises:
    ValueError, AttributeError: as `cluster`.
  """
  kind = _kind()
  find = functools.partial(
    kind.get_coordinator_address,
    timeout_secs=int(rollcall.BY_CLUSTER.patience),
    override_coordinator_port=os.environ.get("JAX_COORDINATOR_PORT"),
  )
  address = os.environ.get("JAX_COORDINATOR_ADDRESS") or _asked(kind, find)
  return Place(address, processes, _asked(kind, kind.get_process_id))


def _alone(kind: str, environ: os._Environ | dict[str, str]) -> bool:
  """Returns whether a process is surely none of several in a kind of cluster.

  JAX would take SLURM's interactive shells for all of their job's tasks, ask
  Kubernetes for jobs of pods that have none, and ask a metadata server that a
  TPU machine is told not to ask.
  """
  if kind == "SlurmCluster":
    return environ.get("SLURM_STEP_NUM_TASKS") == "1"
  if kind == "K8sCluster":
    return "JOB_COMPLETION_INDEX" not in environ
  if kind == "GkeTpuCluster":
    names = ("TPU_PROCESS_ADDRESSES", "TPU_WORKER_HOSTNAMES")
    workers = next((environ[n] for n in names if n in environ), "")
    unasked = "TPU_SKIP_MDS_QUERY" in environ
    slices = "MEGASCALE_NUM_SLICES" in environ
    return unasked and not slices and "," not in workers
  return False


def _by_mpi() -> Cluster | None:
  """Returns what an MPI says that JAX recognizes by mpi4py alone, if any."""
  sizes = (os.environ.get(name, "") for name in _MPI)
  count = max((int(size) for size in sizes if size.isdigit()), default=1)
  if count == 1:
    return None
  if importlib.util.find_spec("mpi4py") is None:
    raise ValueError(
      f"MPI has started {count} processes, but JAX cannot see where they meet: "
      f"install mpi4py, or {REMEDY}"
    )
  return Cluster(count, "mpi4py")


def join(place: Place = NOWHERE) -> bool:
  """Meets the other processes, if there are any; before any other use of JAX.

  Args:
    place: explicit, or as the cluster says; `processes=1` asks no cluster.

  Returns:
    Whether there are others.

  Raises:
    ValueError: the place is only half told, or not all are there.
  """
  given = [name for name in Place._fields if getattr(place, name) is not None]
  if place.processes == 1:
    return False
  if given and len(given) < len(Place._fields):
    missing = [name for name in Place._fields if name not in given]
    raise ValueError(
      f"--{given[0]} is given, but not --{missing[0]}: processes that meet "
      "need --coordinator, --processes and --process_id."
    )
  if not given:
    return _meet_by_cluster()
  pod = "JOB_COMPLETION_INDEX" in os.environ  # of a Job of Kubernetes
  _answer(place, rollcall.BY_JOB if pod else rollcall.BY_HAND)
  return _meet(place)


def _meet_by_cluster() -> bool:
  try:
    launcher = cluster()
    if launcher is None or launcher.processes == 1:
      return False
    # MPI has started all before; JAX may be told to listen elsewhere.
    alone = launcher.method or "JAX_COORDINATOR_BIND_ADDRESS" in os.environ
    place = NOWHERE if alone else _place(launcher.processes)
  except (ImportError, AttributeError):
    return _meet_whom_jax_finds()
  if place != NOWHERE:
    _answer(place, rollcall.BY_CLUSTER)
  return _meet(place, launcher.method)


def _answer(place: Place, rules: rollcall.Rules) -> None:
  caller = rollcall.Caller(place.processes, place.process_id)
  rollcall.answer(place.coordinator, caller, rules)


def _meet_whom_jax_finds() -> bool:
  """Meets by JAX's public entry alone, which starts even a single process."""
  try:
    return _meet(NOWHERE)
  except ValueError:  # so it says that there is no cluster
    return False


def _meet(place: Place, method: str | None = None) -> bool:
  jax.config.update("jax_cpu_collectives_implementation", "gloo")
  jax.config.update("jax_enable_preemption_service", False)  # see `preemption`
  losses.outlive_aborts()
  jax.distributed.initialize(
    *place,
    cluster_detection_method=method,
    heartbeat_timeout_seconds=SILENCE,
  )
  _share_notices()
  return jax.process_count() > 1


def check_same(task: str) -> None:
  """Refuses processes that were not told to do the same.

  Args:
    task: a hexadecimal digest of what this one was told.

  Raises:
    ValueError: in all of them.
  """
  if jax.process_count() == 1:
    return
  from jax.experimental import multihost_utils

  tasks = multihost_utils.process_allgather(np.uint32(int(task[:8], 16)))
  others = np.flatnonzero(tasks != tasks[0])
  if others.size:
    raise ValueError(
      f"process {others[0]} was started with another config, workdir or version"
      " than process 0: start all with the same command, but for --process_id."
    )


def first() -> bool:
  """Returns whether this is the process that writes."""
  return jax.process_index() == 0


def agreed(choice: int) -> int:
  """Returns the first process's choice, to all."""
  if jax.process_count() == 1:
    return choice
  from jax.experimental import multihost_utils

  return int(multihost_utils.broadcast_one_to_all(np.int32(choice)))


def meet(name: str) -> None:
  """Waits until all processes are here."""
  if jax.process_count() > 1:
    from jax.experimental import multihost_utils

    multihost_utils.sync_global_devices(name)


def stop_if_told() -> None:
  """Ends all processes if the machine will be taken: nothing is unsaved here.

  Raises:
    Stopped: a notice has come; see `preemption`.
  """
  if agreed(NOTICE.came()):
    raise preemption.Stopped


def _share_notices() -> None:
  """Lets a notice to one process be one to all.

  By the store of JAX's own service. Its client is private: without it each
  process heeds its own notices, and what the first one says at an epoch's end.
  """
  try:
    from jax._src import distributed

    client = distributed.global_state.client
    get, put = client.key_value_try_get, client.key_value_set
  except (ImportError, AttributeError):
    return

  def hear():
    try:
      number, seconds = get(_STOP).split()
      return int(number), float(seconds)
    except jax.errors.JaxRuntimeError:  # nobody has, or its process is gone
      return None

  def tell(notice):
    number, seconds = notice
    with contextlib.suppress(jax.errors.JaxRuntimeError):
      put(_STOP, f"{number} {seconds}", allow_overwrite=True)

  NOTICE.share(tell, hear, last=first())
