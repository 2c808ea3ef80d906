"""Sweeps as `runs.sweeps` compiles them, for devices not here."""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from bdjax.aot import shapes, targets
from bdjax.aot.epochs import PARTS, Program
from bdjax.machine import mesh as meshes
from bdjax.runs import work
from bdjax.runs.sweeps import Member
from bdjax.training import loop, sweep
from bdjax.types import Params


def programs(
  devices: list[jax.Device],
  member: Member,
  shared: Params,
  more: Params,
  *,
  batch: int,
  width: int,
  size: int,
) -> Iterator[Program]:
  """Yields a sweep, and what its processes then exchange.

  Args:
    devices: the target's; each takes `width` members.
    member: what one of them does.
    shared: shapes of what all of them share.
    more: shapes of what one has beside its key.
    batch: images of a member's step.
    width: members of a device at once.
    size: images of the training set.
  """
  mesh = targets.mesh(devices)
  spread, whole = meshes.by_member(mesh), meshes.everywhere(mesh)
  members = meshes.members(mesh) * width
  one = functools.partial(member, loop.scan_fit)
  inputs = {"key": shapes.key(), "numbers": {}, "more": more}
  inputs = jax.eval_shape(lambda tree: tree, inputs)
  flop = width * work.flop(
    work.needed(jax.make_jaxpr(one)(shared, inputs).jaxpr)
  )
  stacked = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct((members, *x.shape), x.dtype), inputs
  )
  shared, stacked = shapes.laid(shared, whole), shapes.laid(stacked, spread)
  lowered = jax.jit(sweep.spread_out(one, mesh)).lower(shared, stacked)
  program = Program(
    name="sweep",
    lowered=lowered,
    flop=flop,
    batches={batch, *PARTS},
    size=size,
    grouped=width > 1,
    devices=len(devices),
  )
  yield program
  if len({device.process_index for device in devices}) > 1:
    # What `sweep.unstack` asks of a pod: every process gets each result.
    results = shapes.laid(lowered.out_info, spread)
    place = shapes.laid(jax.ShapeDtypeStruct((), jnp.int32), whole)
    gather = jax.jit(sweep.member_of, out_shardings=whole).lower(results, place)
    yield program._replace(name="a result to all", lowered=gather, flop=0.0)
