"""Several processes that train as one: how they meet, and who writes.

Each process loads the same data and computes the same randomness; only the
epochs of `loop.host_fit` and the chunks of a sweep are shared, over the devices
of all. The first process writes results, all take part in saving checkpoints.
"""

import os
from typing import NamedTuple

import jax
import numpy as np

SILENCE = 60  # seconds without a sign of life after which a process is lost


class Place(NamedTuple):
  """Where processes meet, and which of them this is; None: found by JAX."""

  coordinator: str | None = None
  processes: int | None = None
  process_id: int | None = None


def several(environ: dict[str, str]) -> bool:
  """Returns whether a scheduler has started this process as one of several.

  SLURM tells by SLURM_NTASKS in a step of srun, a TPU pod by the names of its
  workers. Anything else needs an explicit `Place`.

  Args:
    environ: environment variables.
  """
  step = "SLURM_PROCID" in environ and "SLURM_STEP_ID" in environ
  tasks = environ.get("SLURM_STEP_NUM_TASKS", environ.get("SLURM_NTASKS", "1"))
  workers = environ.get("TPU_WORKER_HOSTNAMES", "")
  return (step and int(tasks) > 1) or "," in workers


NOWHERE = Place()  # not told: the scheduler says, or there is one process


def join(place: Place = NOWHERE) -> bool:
  """Meets the other processes, if there are any; before any other use of JAX.

  Args:
    place: explicit, or as the scheduler says.

  Returns:
    Whether there are others.

  Raises:
    ValueError: the place is only half told.
  """
  given = [name for name in Place._fields if getattr(place, name) is not None]
  if given and len(given) < len(Place._fields):
    missing = [name for name in Place._fields if name not in given]
    raise ValueError(
      f"--{given[0]} is given, but not --{missing[0]}: processes that meet "
      "need --coordinator, --processes and --process_id."
    )
  if not given and not several(dict(os.environ)):
    return False
  jax.config.update("jax_cpu_collectives_implementation", "gloo")
  jax.distributed.initialize(
    place.coordinator,
    place.processes,
    place.process_id,
    heartbeat_timeout_seconds=SILENCE,
  )
  return jax.process_count() > 1


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
