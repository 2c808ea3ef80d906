"""Members of a sweep that train at once on one device: 1, 2, 4, ...

Each case is a vmap of whole training steps over members with weights and data
order of their own, on the same images. Its images per second count all members,
so that a ratio above 1 means that members together are faster than one after
the other; `bdjax.widths` chooses by the same comparison.
"""

from collections.abc import Callable

import jax

from bdjax import backend, loop
from bdjax.bench import measure
from bdjax.bench.measure import Options, Row


def run(options: Options) -> list[Row]:
  """Returns one row per batch size and number of members."""
  return [row for batch in options.batch for row in _compare(options, batch)]


def _compare(options: Options, batch: int) -> list[Row]:
  widths = [2**i for i in range(options.widest.bit_length())]
  made = {width: _case(options, batch, width) for width in widths}
  cases = {str(width): sample for width, (sample, _) in made.items()}
  seconds = measure.take_turns(cases, options.samples)
  about = {"arch": options.arch, "width": options.width, "batch": batch}
  images = batch * options.steps
  each = {w: [s / w for s in seconds[str(w)]] for w in widths}  # per member
  return [
    {"case": f"{width} members", **about, "dtype": options.dtype, **row}
    | measure.speed(each[width], images)
    | {"ratio_to_one": measure.ratio(each[width], each[1])}
    for width, (_, row) in made.items()
  ]


def _case(
  options: Options, batch: int, width: int
) -> tuple[Callable[[], object], Row]:
  step = measure.train_step(options)
  data = measure.dataset(options, count=batch * options.steps)
  epoch = loop.epoch(step, batch_size=batch)
  one = measure.start(options)
  state = jax.tree.map(lambda x: jax.numpy.stack([x] * width), one)
  args = (jax.random.split(jax.random.key(0), width), state, data)
  program, row = measure.compile_program(
    jax.vmap(epoch, in_axes=(0, 0, None)),
    args,
    options=backend.compiler_options(),
  )
  row = {k: v for k, v in row.items() if k != "flop"}  # meaningless in a scan
  return lambda: jax.block_until_ready(program(*args)), row
