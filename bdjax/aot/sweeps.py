"""Sweeps as `runs.sweeps` compiles them, for devices not here."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from bdjax.aot import shapes, targets
from bdjax.aot.epochs import PARTS, Program
from bdjax.aot.shapes import CIFAR10, Images
from bdjax.machine import mesh as meshes
from bdjax.methods import registry
from bdjax.runs import experiment, work
from bdjax.training import loop, sweep
from bdjax.types import Params


def planting(
  devices: list[jax.Device],
  *,
  attack: str,
  model: str,
  args: dict[str, Any],
  batch: int,
  width: int,
  images: Images = CIFAR10,
) -> Iterator[Program]:
  """Yields a sweep that plants, and what its processes then exchange.

  Args:
    devices: the target's; each takes `width` members.
    attack: by name.
    model: of the victims.
    args: the model's.
    batch: images of a member's step.
    width: members of a device at once.
    images: the training set that members share.
  """
  made = registry.get("attacks", attack)()
  task = shapes.task(shapes.model(model, images, args), batch, "conventional")

  def member(data, own):
    found = experiment.plant(own["key"], made, task(data), loop.scan_fit)
    return found._replace(train=())

  yield from _sweep(
    devices,
    member,
    shapes.dataset(images),
    {"key": shapes.key()},
    batch,
    width,
    images,
  )


def defending(
  devices: list[jax.Device],
  *,
  defense: str,
  options: dict[str, Any],
  model: str,
  args: dict[str, Any],
  width: int,
  images: Images = CIFAR10,
  rate: float = 0.05,
) -> Iterator[Program]:
  """Yields a sweep that defends; arguments as in `defend` and above."""
  made = registry.get("defenses", defense)(**options)
  access = shapes.access(shapes.model(model, images, args), images, rate)
  own = {"key": shapes.key(), "more": access.replace(train=None)}

  def member(nothing, own):
    del nothing
    return experiment.defend(own["key"], made, own["more"], loop.scan_fit)

  batch = options["batch_size"]
  yield from _sweep(devices, member, (), own, batch, width, images)


def _sweep(
  devices: list[jax.Device],
  member: sweep.Member,
  shared: Params,
  own: Params,
  batch: int,
  width: int,
  images: Images,
) -> Iterator[Program]:
  mesh = targets.mesh(devices)
  spread, whole = meshes.by_member(mesh), meshes.everywhere(mesh)
  members = meshes.members(mesh) * width
  own = jax.eval_shape(lambda tree: tree, own)
  stacked = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct((members, *x.shape), x.dtype), own
  )
  shared, stacked = shapes.laid(shared, whole), shapes.laid(stacked, spread)
  lowered = jax.jit(sweep.spread_out(member, mesh)).lower(shared, stacked)
  one = jax.make_jaxpr(member)(shared, own).jaxpr
  flop = width * work.flop(work.needed(one))
  batches = {batch, *PARTS}
  program = Program(
    *("sweep", lowered, flop, batches, images.count),
    grouped=width > 1,
    devices=len(devices),
  )
  yield program
  if len({device.process_index for device in devices}) > 1:
    # What `sweep.unstack` asks of a pod: every process gets each result.
    made = shapes.laid(lowered.out_info, spread)
    place = shapes.laid(jax.ShapeDtypeStruct((), jnp.int32), whole)
    gather = jax.jit(sweep.member_of, out_shardings=whole).lower(made, place)
    yield program._replace(name="a result to all", lowered=gather, flop=0.0)
