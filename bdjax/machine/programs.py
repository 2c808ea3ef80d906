"""Compiled programs whose numbers are arguments, each compiled once a process.

An array that a function closes over (a learning rate, a poison rate, a key)
would be a constant of its program, so that every new number compiled anew. Here
such arrays are found by tracing and handed over beside the arguments; programs
that then read alike are one. So a cell that differs from an earlier one only in
numbers compiles nothing.

Python's own numbers stay constants: give `jnp.asarray(0.1)` for what changes.

Nor is such a cell traced again: its functions look as those of the earlier one,
see `closures`. What an array is worth must not decide, then, what Python does
while it traces; the contract tests trace every method with tracers for them.
Nor may a function compute from such an array while it is traced, as under
`jax.ensure_compile_time_eval`: what came of the first one's is a constant, and
is taken for that of all functions that look alike.
"""

import functools
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from bdjax.machine import backend, closures, notes, storage
from bdjax.machine import mesh as meshes
from bdjax.types import Params

T = TypeVar("T")
KEPT = 128  # programs; the one that was asked for longest ago goes first
_WHOLE = PartitionSpec()
_known: dict[Any, Callable] = {}  # by the text of the program


class _Traced(Exception):
  """A function closes over a tracer: it is being traced with its caller."""


class Program(NamedTuple):
  """A compiled function, and the arrays it closes over."""

  run: jax.stages.Compiled  # flat arrays -> flat arrays
  numbers: list[jax.Array]
  result: Any  # structure of what the function returns

  def __call__(self, *args: Params) -> Any:
    """Runs the function; arguments must be like those it was compiled for."""
    return self.result.unflatten(
      self.run(*self.numbers, *jax.tree.leaves(args))
    )

  def memory_analysis(self) -> Any:
    """Returns what a device needs for it, as JAX's own programs tell."""
    return self.run.memory_analysis()


class _Trace(NamedTuple):
  """What is known of a function once it was traced.

  Attributes:
    run: flat arrays -> flat arrays.
    numbers: arrays that it takes before its arguments: places among those that
      the function closes over, or constants of its own.
    result: structure of what the function returns.
    own: bytes of those constants.
  """

  run: jax.stages.Compiled
  numbers: list[int | jax.Array]
  result: Any
  own: int


_traces: dict[Any, _Trace] = {}  # by what functions and arguments look like


def traced(*trees: Any) -> bool:
  """Returns whether any array of these trees has no value yet, in a trace."""
  return any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(trees))


def compiled(
  function: Callable,
  *args: Params,
  donate: Sequence[int] = (),
  mesh: Mesh | None = None,
  spread: PartitionSpec = _WHOLE,
) -> Program:
  """Compiles a function for these arguments with the platform's options.

  Args:
    function: pure; what it closes over may not be a tracer.
    *args: arrays; with a mesh, laid out on it.
    donate: positions of the arguments whose memory the result may take.
    mesh: whose devices run it; None for one device.
    spread: how the results lie on them; each holds them whole unless said.
  """
  try:
    look, held = closures.described(function)
  except closures.Unknown:
    look, held = None, []
  how = (tuple(donate), mesh, spread, _like(args), _setting())
  kind = None if look is None else (look, how)
  trace = _recent(_traces, kind)
  if trace is None:
    trace = _trace(function, args, held, donate, mesh, spread)
    if kind is not None and trace.own < closures.LARGEST:
      _keep(_traces, kind, trace)
  numbers = [held[x] if isinstance(x, int) else x for x in trace.numbers]
  if mesh is not None:
    numbers = meshes.place(numbers, meshes.everywhere(mesh))
  return Program(trace.run, numbers, trace.result)


def _trace(function, args, held, donate, mesh, spread) -> _Trace:
  lowered, numbers, result = _lowered(function, args, donate, mesh, spread)
  where = [mesh] if mesh is not None else jax.devices()[:1]
  options = backend.compiler_options()
  kind = (lowered.as_text(), *where, *sorted(options.items()))
  run = _recent(_known, kind) or lowered.compile(compiler_options=options)
  _keep(_known, kind, run)
  places = {id(array): place for place, array in enumerate(held)}
  own = [x for x in numbers if id(x) not in places]
  return _Trace(
    run,
    [places.get(id(x), x) for x in numbers],
    result,
    sum(x.nbytes for x in own),
  )


def _recent(kept: dict[Any, T], kind: Any) -> T | None:
  """Returns what is kept, as what was asked for last."""
  found = kept.pop(kind, None)
  if found is not None:
    kept[kind] = found
  return found


def _keep(kept: dict[Any, T], kind: Any, value: T) -> None:
  kept[kind] = value
  if len(kept) > KEPT:
    del kept[next(iter(kept))]


def _like(args: tuple[Params, ...]) -> Any:
  """Returns what programs know of their arguments."""
  leaves, tree = jax.tree.flatten(args)
  return tree, *((jax.typeof(x), getattr(x, "sharding", None)) for x in leaves)


def _setting() -> Any:
  """Returns all that JAX was told, some of which decides what it traces."""
  values = jax.config.values
  return tuple(repr(getattr(jax.config, k, x)) for k, x in values.items())


def _lowered(function, args, donate, mesh, spread):
  closed, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
  numbers, out = closed.consts, None
  if traced(numbers):
    raise _Traced
  placed, count = numbers, len(numbers)
  if mesh is not None:
    placed = meshes.place(numbers, meshes.everywhere(mesh))
    out = NamedSharding(mesh, spread)

  def flat(*arrays):
    return jax.core.eval_jaxpr(closed.jaxpr, arrays[:count], *arrays[count:])

  donated, place = [], count
  for i, arg in enumerate(args):
    size = len(jax.tree.leaves(arg))
    donated += range(place, place + size) if i in donate else ()
    place += size
  jitted = jax.jit(
    flat,
    donate_argnums=tuple(donated),
    out_shardings=out,
    keep_unused=True,  # or programs of unlike arguments would read alike
  )
  lowered = jitted.lower(*placed, *jax.tree.leaves(args))
  return lowered, numbers, jax.tree.structure(shapes)


def jit(function: Callable) -> Callable:
  """Returns a function compiled for its arguments when called.

  As `jax.jit`, but what it closes over is an argument too. Within a trace it is
  part of that.
  """

  @functools.wraps(function)
  def call(*args, **named):
    if traced(args, named):
      return function(*args, **named)
    given = jax.tree.map(jnp.asarray, (args, named))
    try:
      program = compiled(lambda given: function(*given[0], **given[1]), given)
    except _Traced:
      return function(*args, **named)
    return program(given)

  return call


def keep() -> None:
  """Keeps compiled programs between runs, unless the user chose a place.

  The quick ones too, which JAX would not: a small run has a hundred of them,
  and took 13 s instead of 16 where they were kept. Of one that another run has
  half written JAX warns, and compiles anew: nobody need know.
  """
  warnings.filterwarnings("ignore", "Error reading persistent compilation")
  if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
  if jax.config.jax_compilation_cache_dir is None:
    folder = storage.cache("xla")

    def use() -> None:
      storage.probe(folder / "probe")  # JAX would complain of every program
      jax.config.update("jax_compilation_cache_dir", str(folder))

    notes.keep("compiled programs", folder, use)
