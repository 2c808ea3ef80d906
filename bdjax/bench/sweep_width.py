"""Members of a sweep that train at once on one device: 1, 2, 4, ...

Each case is a vmap of whole training steps over members with weights and data
order of their own, on the same images. Its images per second count all members,
so that a ratio above 1 means that members together are faster than one after
the other; `bdjax.runs.widths` chooses by the same comparison.
"""

import jax

from bdjax.bench import measure
from bdjax.bench.measure import Case, Options, Row
from bdjax.training import engine


def run(options: Options) -> list[Row]:
  """Returns one row per batch size and number of members."""
  return [row for batch in options.batch for row in _compare(options, batch)]


def _compare(options: Options, batch: int) -> list[Row]:
  widths = [2**i for i in range(options.widest.bit_length())]
  cases = {width: _case(options, batch, width) for width in widths}
  calls = {str(width): sample for width, (sample, _) in cases.items()}
  seconds = measure.take_turns(calls, options.samples)
  images = batch * options.steps
  each = {w: [s / w for s in seconds[str(w)]] for w in widths}  # per member
  return [
    {"case": f"{width} members", **measure.about(options, batch), **row}
    | measure.speed(each[width], images)
    | {"ratio_to_one": measure.ratio(each[width], each[1])}
    for width, (_, row) in cases.items()
  ]


def _case(options: Options, batch: int, width: int) -> Case:
  step = measure.train_step(options)
  data = measure.dataset(options, count=batch * options.steps)
  epoch = engine.epoch(step, batch_size=batch)
  one = measure.start(options)
  state = jax.tree.map(lambda x: jax.numpy.stack([x] * width), one)
  keys = jax.random.split(jax.random.key(0), width)
  return measure.case(
    jax.vmap(epoch, in_axes=(0, 0, None)), (keys, state, data)
  )
