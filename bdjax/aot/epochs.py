"""Epochs as `host_fit` compiles them, lowered for devices not here.

A method is traced with a `fit` that notes what it is asked to train
(`bdjax.runs.work`). Arrays are shapes throughout, so nothing is computed.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.extend.core as jex
import jax.numpy as jnp
from jax.sharding import Mesh

from bdjax.aot import shapes
from bdjax.attacks.parts import poison
from bdjax.machine import mesh as meshes
from bdjax.machine import programs
from bdjax.runs import work
from bdjax.training import engine, inference, loop
from bdjax.types import Params

# Images that methods handle at once outside of their own training's batches.
PARTS = {poison.PART, inference.BATCH}


class Program(NamedTuple):
  """A program to compile.

  Attributes:
    name: of the stage.
    lowered: for the target.
    flop: of a device in one run, as `bdjax.runs.work` counts.
    batches: images that a device handles at once, in its kinds of batches.
    size: images of the set.
    grouped: whether grouped convolutions are expected: several members at once.
    devices: that take part.
  """

  name: str
  lowered: jax.stages.Lowered
  flop: float
  batches: set[int]
  size: int
  grouped: bool = False
  devices: int = 1


def stages(method: Callable[..., Any], mesh: Mesh, *args: Any) -> list[Program]:
  """Returns the epoch programs of a method, each kind once per stage."""
  spans = []

  def seen(key, step, state, data, batch_size, name):
    plan = engine.turns(step, data)
    spans.append(_Span(name, key, state, plan, batch_size, mesh))

  work.stages(method, *args, seen=seen)
  return [epoch.program() for epoch in spans]


class _Span:
  """Epochs on end as `host_fit` compiles them, kept beyond their trace.

  What the step closes over may belong to that trace: it becomes an argument.
  """

  def __init__(
    self,
    name: str,
    key: jax.Array,
    state: Params,
    plan: engine.Turns,
    batch_size: int,
    mesh: Mesh,
  ):
    part = meshes.dividing(mesh, batch_size)
    shared = part if meshes.shares(part) > 1 else None
    run = engine.span(plan, batch_size=batch_size, most=loop.MOST, mesh=shared)
    datas = jax.eval_shape(engine.alike, plan.datas)
    bounds = (jnp.int32(0), jnp.int32(1))
    self._args = jax.tree.map(shapes.shape, (key, state, datas, *bounds))
    closed, out = jax.make_jaxpr(run, return_shape=True)(*self._args)
    self._tree = jax.tree.structure(out)
    self._jaxpr = closed.jaxpr
    traced = [programs.traced(c) for c in closed.consts]
    pairs = list(zip(closed.consts, traced, strict=True))
    self._held = [shapes.shape(c) for c, mine in pairs if mine]
    self._known = [None if mine else c for c, mine in pairs]
    self._name, self._mesh, self._size = name, mesh, datas[0].size
    self._batch = batch_size // meshes.shares(part)

  def program(self) -> Program:
    whole = meshes.everywhere(self._mesh)

    def run(held, *args):
      more = iter(held)
      constants = [next(more) if c is None else c for c in self._known]
      call = jex.jaxpr_as_fun(jex.ClosedJaxpr(self._jaxpr, constants))
      flat = call(*jax.tree.leaves(args))
      return jax.tree.unflatten(self._tree, flat)

    jitted = jax.jit(run, donate_argnums=2, out_shardings=whole)
    lowered = jitted.lower(*shapes.laid((self._held, *self._args), whole))
    flop = work.flop(work.needed(self._jaxpr)) / meshes.shares(self._mesh)
    return Program(
      self._name,
      lowered,
      flop,
      {self._batch} | PARTS,
      self._size,
      devices=self._mesh.size,
    )
