"""bdjax's programs, lowered for devices that are only described."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax

from bdjax.aot import epochs, shapes, sweeps, targets
from bdjax.aot.epochs import Program
from bdjax.aot.shapes import CIFAR10, TEST, Images
from bdjax.data import augment
from bdjax.machine import mesh as meshes
from bdjax.methods import registry
from bdjax.runs import evaluate, experiment, work
from bdjax.runs import sweeps as runs
from bdjax.runs.methods import Method
from bdjax.training import engine, learn, simclr
from bdjax.types import Access, Defended, Recipe


def train(
  devices: list[jax.Device],
  *,
  model: str,
  args: dict[str, Any],
  batch: int,
  images: Images = CIFAR10,
  share: bool = False,
) -> Iterator[Program]:
  """Yields the epoch of plain training.

  Args:
    devices: the target's.
    model: by name.
    args: its arguments.
    batch: images of a step, on all devices together.
    images: the training set.
    share: whether devices share a batch, as many as it divides by; else one
      has it.
  """
  net = shapes.model(model, images, args)

  def method(fit, key, data):
    return learn.train_classifier(
      key,
      data,
      fit,
      model=net,
      recipe=Recipe(batch_size=batch),
      view=augment.standard(),
    )

  data = math.gcd(batch, len(devices)) if share else 1
  mesh = targets.mesh(devices[:data], data=data)
  yield from epochs.stages(method, mesh, shapes.key(), shapes.dataset(images))


def plant(
  devices: list[jax.Device],
  *,
  attack: str,
  model: str,
  args: dict[str, Any],
  batch: int,
  regime: str = "conventional",
  width: int = 0,
  images: Images = CIFAR10,
) -> Iterator[Program]:
  """Yields the epochs that an attack trains, or a sweep that plants.

  Args:
    devices: the target's.
    attack: by name, with its own arguments.
    model: of the victim.
    args: the model's.
    batch: images of a step.
    regime: by name.
    width: members of a sweep that a device takes at once; 0 for no sweep.
    images: the training set, which members share.
  """
  method = Method(attack, registry.get("attacks", attack)(), {})
  task = shapes.task(shapes.model(model, images, args), batch, regime)
  data = shapes.dataset(images)

  def alone(fit, key, data):
    return experiment.plant(key, method.built, task(data), fit)

  def member(fit, data, inputs):
    return runs.planter(method)(fit, task(data), inputs)

  if width:
    how = {"batch": batch, "width": width, "size": images.count}
    yield from sweeps.programs(devices, member, data, (), **how)
  else:
    mesh = targets.mesh(devices[:1])
    yield from epochs.stages(alone, mesh, shapes.key(), data)


def defend(
  devices: list[jax.Device],
  *,
  defense: str,
  options: dict[str, Any],
  model: str,
  args: dict[str, Any],
  width: int = 0,
  images: Images = CIFAR10,
  rate: float = 0.05,
) -> Iterator[Program]:
  """Yields the epochs that a defense trains, or a sweep that defends.

  Args:
    devices: the target's.
    defense: by name.
    options: its arguments.
    model: of the suspect.
    args: the model's.
    width: as in `plant`.
    images: the training set.
    rate: share of it that the defender holds.
  """
  method = Method(defense, registry.get("defenses", defense)(**options), {})
  access = shapes.access(shapes.model(model, images, args), images, rate)

  def alone(fit, key, access):
    return experiment.defend(key, method.built, access, fit)

  if width:
    more = runs.needed(method.built, access)
    batch = options["batch_size"]
    how = {"batch": batch, "width": width, "size": images.count}
    yield from sweeps.programs(devices, runs.defender(method), (), more, **how)
  else:
    mesh = targets.mesh(devices[:1])
    yield from epochs.stages(alone, mesh, shapes.key(), access)


def pretrain(
  devices: list[jax.Device],
  *,
  model: str,
  args: dict[str, Any],
  batch: int,
  images: Images = CIFAR10,
) -> Iterator[Program]:
  """Yields SimCLR's epoch; arguments are `train`'s."""
  net = shapes.model(model, images._replace(classes=0), args)

  def method(fit, key, data):
    return simclr.pretrain(
      key,
      data,
      fit,
      Recipe(epochs=1, batch_size=batch, lr=1e-3, weight_decay=1e-6),
      encoder=net,
      temperature=0.5,
    )

  mesh = targets.mesh(devices[:1])
  for program in epochs.stages(
    method, mesh, shapes.key(), shapes.dataset(images)
  ):
    yield program._replace(batches=program.batches | {2 * batch})


def score(
  devices: list[jax.Device],
  *,
  model: str,
  args: dict[str, Any],
  attack: str = "badnets",
  batch: int = 500,
  images: Images = TEST,
) -> Iterator[Program]:
  """Yields the program that scores a model, clean and triggered."""
  net = shapes.model(model, images, args)
  adversary = registry.get("attacks", attack)()
  planted, _ = work.stages(
    lambda fit, key, data: experiment.plant(
      key, adversary, shapes.task(net, batch, "conventional")(data), fit
    ),
    shapes.key(),
    shapes.dataset(images),
  )

  def run(test, params, variables) -> evaluate.Counts:
    return experiment.score(
      Defended(variables),
      Access(variables, model=net),
      test,
      params,
      attack=adversary,
      batch_size=batch,
    )

  whole = meshes.everywhere(targets.mesh(devices[:1]))
  test = jax.eval_shape(engine.rows, shapes.dataset(images))
  given = (test, planted.params, planted.variables)
  given = shapes.laid(given, whole)
  flop = work.flop(work.needed(jax.make_jaxpr(run)(*given).jaxpr))
  lowered = jax.jit(run).lower(*given)
  yield Program("score", lowered, flop, {batch}, images.count)


BUILDERS: dict[str, Callable[..., Iterator[Program]]] = {
  function.__name__: function
  for function in (train, plant, defend, pretrain, score)
}
