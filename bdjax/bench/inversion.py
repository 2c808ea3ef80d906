"""Trigger inversion, as Neural Cleanse does it: all classes at once or in turn.

One pass over the same images for each of 10 classes, three ways: one program
that searches all classes together, one program whose classes take turns inside
a step, and a program of one class that is called once per class, as a loop over
classes would. Ratios are to that loop. The images per second count an image
once per class.
"""

import jax
import jax.numpy as jnp

from bdjax.bench import measure
from bdjax.bench.measure import Case, Options, Row
from bdjax.defenses.parts import inversion
from bdjax.machine import backend
from bdjax.training import engine
from bdjax.types import Dataset, Params

CLASSES = 10  # those of measure.model
_LOOP = "one class at a time"


def run(options: Options) -> list[Row]:
  """Returns one row per batch size and way to search."""
  return [row for batch in options.batch for row in _compare(options, batch)]


def _compare(options: Options, batch: int) -> list[Row]:
  data = measure.dataset(options, count=batch * options.steps)
  variables = measure.start(options).variables

  def case(width, classes):
    return _case(options, data, variables, batch, width=width, classes=classes)

  every = [range(CLASSES)]
  cases = {
    _LOOP: case(1, [[label] for label in range(CLASSES)]),
    "all classes at once": case(CLASSES, every),
    "classes in turn, one program": case(1, every),
  }
  return measure.compare(
    options,
    batch,
    cases,
    images=CLASSES * data.size,
    base=_LOOP,
    faster="ratio_to_loop",
  )


def _case(
  options: Options,
  data: Dataset,
  variables: Params,
  batch: int,
  *,
  width: int,
  classes: list,
) -> Case:
  rules, shape = inversion.Rules(), data.image.shape[1:]
  step = inversion.searching(
    measure.model(options), rules, steps=options.steps, width=width
  )

  def begun(labels):
    begin = jax.vmap(lambda label: inversion.begin(label, shape, rules))
    searches = begin(jnp.array(labels, jnp.int32))
    return inversion.Inverting(variables, searches, jnp.zeros((), jnp.int32))

  key, states = jax.random.key(0), [begun(labels) for labels in classes]
  program, row = measure.compile_program(
    engine.epoch(step, batch_size=batch),
    (key, states[0], data),
    options=backend.compiler_options(),
  )

  def sample():
    for state in states:
      jax.block_until_ready(program(key, state, data))

  return sample, row
