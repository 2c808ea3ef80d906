"""What a view of a batch costs, in forward passes of the network.

A pass is in training mode, on images that are already on the device; the views
are of the same batch. Contrastive pre-training draws two views per image.
"""

import jax

from bdjax.bench import measure
from bdjax.bench.measure import Case, Options, Row
from bdjax.data import augment, distort
from bdjax.training import learn

_PASS = "forward pass"


def run(options: Options) -> list[Row]:
  """Returns one row per batch size and case."""
  return [row for batch in options.batch for row in _compare(options, batch)]


def _compare(options: Options, batch: int) -> list[Row]:
  images = measure.first_batch(measure.dataset(options, count=batch))
  views = {"crop and flip": augment.standard(), "simclr view": distort.simclr()}
  cases = {_PASS: _pass_case(options, images.image)}
  for name, view in views.items():
    cases[name] = measure.case(view, (jax.random.key(0), images))
  return measure.compare(
    options,
    batch,
    cases,
    images=batch,
    base=_PASS,
    dearer="cost_in_forward_passes",
  )


def _pass_case(options: Options, images: jax.Array) -> Case:
  net, state = measure.model(options), measure.start(options)

  def forward(variables, images):
    (logits, _), stats = learn.forward(net, *learn.parted(variables), images)
    return logits, stats

  return measure.case(forward, (state.variables, images))
