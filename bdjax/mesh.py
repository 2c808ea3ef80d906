"""One mesh for all devices: members of a sweep, and shards of their batches."""

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

MEMBER, DATA = "member", "data"


def make(*, data: int = 1) -> Mesh:
  """Returns the mesh of all devices, (member, data).

  Args:
    data: devices that share a member's batches.

  Raises:
    ValueError: it does not divide the number of devices.
  """
  count = jax.device_count()
  if data < 1 or count % data:
    raise ValueError(
      f"{count} devices cannot be shared out {data} to a member: give a "
      f"divisor of {count}."
    )
  kinds = (AxisType.Auto,) * 2  # an epoch does not trace under Explicit
  return jax.make_mesh((count // data, data), (MEMBER, DATA), axis_types=kinds)


def by_member(mesh: Mesh) -> NamedSharding:
  """Returns how arrays with a leading axis of members lie on a mesh."""
  return NamedSharding(mesh, PartitionSpec(MEMBER))


def members(mesh: Mesh) -> int:
  """Returns how many devices, or groups of them, take members."""
  return int(np.asarray(mesh.shape[MEMBER]))
