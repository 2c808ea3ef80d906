"""Trigger inversion, as Neural Cleanse does it: all classes at once or in turn.

One pass over the same images for each of 10 classes, three ways: one program
that searches all classes together, one program whose classes take turns inside
a step, and a program of one class that is called once per class, as a loop over
classes would. Ratios are to that loop. The images per second count an image
once per class.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from bdjax import backend, inversion, loop
from bdjax.bench import measure
from bdjax.bench.measure import Options, Row
from bdjax.types import Dataset, Params

CLASSES = 10  # those of measure.model
_LOOP = "one class at a time"
_Case = tuple[Callable[[], None], Row]


def run(options: Options) -> list[Row]:
  """Returns one row per batch size and way to search."""
  return [row for batch in options.batch for row in _compare(options, batch)]


def _compare(options: Options, batch: int) -> list[Row]:
  data = measure.dataset(options, count=batch * options.steps)
  variables = measure.start(options).variables

  def case(width, classes):
    return _case(options, data, variables, batch, width=width, classes=classes)

  every = [range(CLASSES)]
  made = {
    _LOOP: case(1, [[label] for label in range(CLASSES)]),
    "all classes at once": case(CLASSES, every),
    "classes in turn, one program": case(1, every),
  }
  cases = {name: sample for name, (sample, _) in made.items()}
  seconds = measure.take_turns(cases, options.samples)
  about = {"arch": options.arch, "width": options.width, "batch": batch}
  return [
    {"case": name, **about, "dtype": options.dtype, **row}
    | measure.speed(seconds[name], CLASSES * data.size)
    | {"ratio_to_loop": measure.ratio(seconds[name], seconds[_LOOP])}
    for name, (_, row) in made.items()
  ]


def _case(
  options: Options,
  data: Dataset,
  variables: Params,
  batch: int,
  *,
  width: int,
  classes: list,
) -> _Case:
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
    loop.epoch(step, batch_size=batch),
    (key, states[0], data),
    options=backend.compiler_options(),
  )

  def sample():
    for state in states:
      jax.block_until_ready(program(key, state, data))

  return sample, {k: v for k, v in row.items() if k != "flop"}
