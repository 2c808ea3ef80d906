"""One mesh for all devices: members of a sweep, and shards of their batches."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from bdjax.machine import notes
from bdjax.types import Params

MEMBER, DATA = "member", "data"


def all_devices() -> Mesh | None:
  """Returns the mesh of all devices, between which batches are divided.

  None where there is but one.
  """
  count = jax.device_count()
  return make(data=count) if count > 1 else None


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
  shape, names = (count // data, data), (MEMBER, DATA)
  devices = sorted(jax.devices(), key=_nearness)
  if len({_nearness(device)[0] for device in devices}) == 1:
    return jax.make_mesh(shape, names, axis_types=kinds)
  # JAX orders the devices of one slice alone: a TPU's, or a host of GPUs.
  ordered = np.array(devices, dtype=object).reshape(shape)
  return Mesh(ordered, names, axis_types=kinds)


def _nearness(device: jax.Device) -> tuple[int, int, int]:
  """Returns a device's place: what is close together follows each other."""
  place = getattr(device, "slice_index", None)
  return place or 0, device.process_index, device.id


def by_member(mesh: Mesh) -> NamedSharding:
  """Returns how arrays with a leading axis of members lie on a mesh."""
  return NamedSharding(mesh, PartitionSpec(MEMBER))


def everywhere(mesh: Mesh) -> NamedSharding:
  """Returns how arrays lie on a mesh that each of its devices holds whole."""
  return NamedSharding(mesh, PartitionSpec())


def by_batch(mesh: Mesh) -> NamedSharding:
  """Returns how [steps, batch] arrays lie on a mesh: each batch is shared."""
  return NamedSharding(mesh, PartitionSpec(None, DATA))


def shares(mesh: Mesh) -> int:
  """Returns how many devices share a batch."""
  return int(mesh.shape[DATA])


def dividing(mesh: Mesh, batch_size: int) -> Mesh:
  """Returns a mesh of the same devices, of which as many as can share a batch.

  Their number divides both the batch and the devices that were to share it; the
  other axis repeats what they do.
  """
  share = math.gcd(shares(mesh), batch_size)
  if share == shares(mesh):
    return mesh
  count = shares(mesh)
  notes.say(
    f"batches of {batch_size} are shared by {share} of {count} devices at a "
    f"time, the others repeat their work: a multiple of {count} would use all."
  )
  kinds = (AxisType.Auto,) * 2
  return Mesh(mesh.devices.reshape(-1, share), (MEMBER, DATA), axis_types=kinds)


def place(tree: Params, sharding: NamedSharding) -> Params:
  """Returns arrays laid out on a mesh, on other processes' devices too.

  Args:
    tree: arrays of one device, or numbers; every process has the same.
    sharding: where they go.
  """
  if sharding.is_fully_addressable:
    return jax.device_put(tree, sharding)

  def lay(x):
    x = x if hasattr(x, "dtype") else jnp.asarray(x)
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
      data = lay(jax.random.key_data(x))
      return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
    held = np.asarray(x)
    return jax.make_array_from_callback(
      held.shape, sharding, lambda index: held[index]
    )

  return jax.tree.map(lay, tree)


def here(tree: Params) -> Params:
  """Returns this process's first copy of arrays that all devices hold whole."""
  return jax.tree.map(lambda x: x.addressable_data(0), tree)


def members(mesh: Mesh) -> int:
  """Returns how many devices, or groups of them, take members."""
  return int(mesh.shape[MEMBER])
