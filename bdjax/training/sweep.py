"""Members of a sweep: one program, spread over devices and batched within.

`shard_map` over the mesh's member axis gives each device its own members: no
device waits for another. (A vmap whose batch is sharded instead makes XLA
gather every member's weights on every device.)

How a device runs its members depends on what it is. A vmapped convolution is
one grouped convolution. On a CPU and a TPU members run so, as one vmap, and how
many at once, the `width`, is a matter of measurement. On a GPU they run in
turn: compiled for an H100 (jax 0.10.2, four PreActResNet18 of width 64 in
bfloat16), a vmap leaves 59 grouped convolutions, none of them by cuDNN's
kernels for gradients, and takes 1,459 MiB beside the weights; in turn it is 39
of those kernels, no group and 406 MiB. At width 16 it is the same.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from bdjax.machine import mesh as meshes
from bdjax.machine import programs
from bdjax.types import Params

Member = Callable[[Params, Params], Params]  # (shared, its own) -> its result


def program(
  member: Member, mesh: Mesh, shared: Params, stacked: Params
) -> Callable[[Params, Params], Params]:
  """Compiles a chunk of members: (shared, stacked) -> stacked results.

  Args:
    mesh: its member axis divides the members evenly.
    stacked: arrays with a leading axis of members.
  """
  return programs.compiled(
    spread_out(member, mesh),
    shared,
    stacked,
    mesh=mesh,
    spread=PartitionSpec(meshes.MEMBER),
  )


def spread_out(
  member: Member, mesh: Mesh
) -> Callable[[Params, Params], Params]:
  """Returns what `program` compiles."""
  local = of_one_device(member, mesh.devices.flat[0].platform)

  spread = PartitionSpec(meshes.MEMBER)
  return jax.shard_map(
    local,
    mesh=mesh,
    in_specs=(PartitionSpec(), spread),
    out_specs=spread,
    axis_names={meshes.MEMBER},
    check_vma=False,
  )


def stack(trees: Sequence[Params], mesh: Mesh, *, size: int) -> Params:
  """Returns members' trees as one, spread over the mesh.

  Args:
    trees: one per member, at most `size`.
    size: members of a chunk; the last one fills it up.
  """
  padded = [*trees, *[trees[-1]] * (size - len(trees))]

  def join(*leaves):
    if jnp.issubdtype(leaves[0].dtype, jax.dtypes.prng_key):
      return jnp.stack(leaves)
    return np.stack([np.asarray(leaf) for leaf in leaves])

  stacked = jax.tree.map(join, *padded)
  return meshes.place(stacked, meshes.by_member(mesh))


def of_one_device(
  member: Member, platform: str
) -> Callable[[Params, Params], Params]:
  """Returns how a device of a platform runs its members; see the module."""

  def local(shared, stacked):
    if platform in ("gpu", "cuda", "rocm"):
      return jax.lax.map(lambda inputs: member(shared, inputs), stacked)
    return jax.vmap(member, in_axes=(None, 0))(shared, stacked)

  return local


def unstack(stacked: Params, count: int) -> Iterator[Params]:
  """Yields the first `count` members' trees, on the default device.

  With several processes each member is sent to all of them by itself, so that
  no device ever holds more than one beside its own.
  """
  if jax.process_count() == 1:
    on_host = jax.device_get(stacked)
    for i in range(count):
      yield jax.tree.map(lambda x, i=i: jnp.asarray(x[i]), on_host)
    return
  mesh = jax.tree.leaves(stacked)[0].sharding.mesh
  everywhere = meshes.everywhere(mesh)
  one = jax.jit(member_of, out_shardings=everywhere)
  for i in range(count):
    yield meshes.here(one(stacked, meshes.place(jnp.int32(i), everywhere)))


def member_of(stacked: Params, place: jax.Array) -> Params:
  """Returns one member's tree."""
  return jax.tree.map(lambda x: x[place], stacked)


def chunk_size(cells: int, devices: int, width: int) -> int:
  """Returns how many members are trained at once, as many on each device.

  As few as do with as many chunks: what fills a chunk up is trained in vain.

  Args:
    cells: that there are.
    devices: that share them.
    width: most members of a device.
  """
  chunks = math.ceil(cells / (devices * width))
  return devices * math.ceil(cells / (chunks * devices))


def chunks(members: Sequence[Any], size: int) -> list[Sequence[Any]]:
  """Returns the members in runs of `size`, the last one maybe shorter."""
  return [members[i : i + size] for i in range(0, len(members), size)]
