"""Members of a sweep: one program, spread over devices and batched within.

`shard_map` over the mesh's member axis gives each device its own members, which
run as one vmap: no device waits for another. (A vmap whose batch is sharded
instead makes XLA gather every member's weights on every device.) A vmapped
convolution is one grouped convolution, so how many members a device takes at
once, the `width`, is a matter of measurement.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from bdjax import backend
from bdjax import mesh as meshes
from bdjax.types import Params

Member = Callable[[Params, Params], Params]  # (shared, its own) -> its result


def program(
  member: Member, mesh: Mesh, shared: Params, stacked: Params
) -> Callable[[Params, Params], Params]:
  """Compiles a chunk of members: (shared, stacked) -> stacked results.

  Args:
    member: a pure function of what all members share and what one has.
    mesh: its member axis divides the members evenly.
    shared: arrays that every device holds.
    stacked: arrays with a leading axis of members.
  """
  lowered = lower(member, mesh, shared, stacked)
  return lowered.compile(compiler_options=backend.compiler_options())


def lower(
  member: Member, mesh: Mesh, shared: Params, stacked: Params
) -> jax.stages.Lowered:
  """Returns the program before compilation; arguments are `program`'s."""

  def local(shared, stacked):
    return jax.vmap(member, in_axes=(None, 0))(shared, stacked)

  spread = PartitionSpec(meshes.MEMBER)
  mapped = jax.shard_map(
    local,
    mesh=mesh,
    in_specs=(PartitionSpec(), spread),
    out_specs=spread,
    axis_names={meshes.MEMBER},
    check_vma=False,
  )
  return jax.jit(mapped).lower(shared, stacked)


def stack(trees: Sequence[Params], mesh: Mesh, *, size: int) -> Params:
  """Returns members' trees as one, spread over the mesh.

  Args:
    trees: one per member, at most `size`.
    mesh: where they go.
    size: members of a chunk; the last one fills it up.
  """
  padded = [*trees, *[trees[-1]] * (size - len(trees))]

  def join(*leaves):
    if jnp.issubdtype(leaves[0].dtype, jax.dtypes.prng_key):
      return jnp.stack(leaves)
    return np.stack([np.asarray(leaf) for leaf in leaves])

  stacked = jax.tree.map(join, *padded)
  return meshes.place(stacked, meshes.by_member(mesh))


def unstack(stacked: Params, count: int) -> list[Params]:
  """Returns the first `count` members' trees, on the default device."""
  if jax.process_count() > 1:
    from jax.experimental import multihost_utils

    stacked = multihost_utils.process_allgather(stacked, tiled=True)
  on_host = jax.device_get(stacked)
  return [
    jax.tree.map(lambda x, i=i: jnp.asarray(x[i]), on_host)
    for i in range(count)
  ]


def finite(tree: Params) -> bool:
  """Returns whether all floating-point numbers of a tree are finite."""
  leaves = [np.asarray(x) for x in jax.tree.leaves(tree)]
  return all(
    np.isfinite(x).all() for x in leaves if np.issubdtype(x.dtype, np.floating)
  )


def chunks(members: Sequence[Any], size: int) -> list[Sequence[Any]]:
  """Returns the members in runs of `size`, the last one maybe shorter."""
  return [members[i : i + size] for i in range(0, len(members), size)]
