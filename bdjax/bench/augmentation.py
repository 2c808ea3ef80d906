"""What a view of a batch costs, in forward passes of the network.

A pass is in training mode, on images that are already on the device; the views
are of the same batch. Contrastive pre-training draws two views per image.
"""

from collections.abc import Callable

import jax

from bdjax import augment, backend, distort, learn
from bdjax.bench import measure
from bdjax.bench.measure import Options, Row

_PASS = "forward pass"


def run(options: Options) -> list[Row]:
  """Returns one row per batch size and case."""
  return [row for batch in options.batch for row in _compare(options, batch)]


def _compare(options: Options, batch: int) -> list[Row]:
  images = measure.first_batch(measure.dataset(options, count=batch))
  views = {"crop and flip": augment.standard(), "simclr view": distort.simclr()}
  made = {_PASS: _pass_case(options, images.image)}
  for name, view in views.items():
    made[name] = _case(view, (jax.random.key(0), images))
  cases = {name: sample for name, (sample, _) in made.items()}
  seconds = measure.take_turns(cases, options.samples)
  about = {"arch": options.arch, "width": options.width, "batch": batch}
  return [
    {"case": name, **about, "dtype": options.dtype, **row}
    | measure.speed(seconds[name], batch)
    | {"cost_in_forward_passes": measure.ratio(seconds[_PASS], seconds[name])}
    for name, (_, row) in made.items()
  ]


def _pass_case(
  options: Options, images: jax.Array
) -> tuple[Callable[[], object], Row]:
  net, state = measure.model(options), measure.start(options)

  def forward(variables, images):
    (logits, _), stats = learn.forward(net, *learn.parted(variables), images)
    return logits, stats

  return _case(forward, (state.variables, images))


def _case(function: Callable, args: tuple) -> tuple[Callable[[], object], Row]:
  options = backend.compiler_options()
  program, row = measure.compile_program(function, args, options=options)
  return lambda: jax.block_until_ready(program(*args)), row
