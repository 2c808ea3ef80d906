"""Compiled programs whose numbers are arguments, each compiled once a process.

An array that a function closes over (a learning rate, a poison rate, a key)
would be a constant of its program, so that every new number compiled anew. Here
such arrays are found by tracing and handed over beside the arguments; programs
that then read alike are one. So a cell that differs from an earlier one only in
numbers compiles nothing.

Python's own numbers stay constants: give `jnp.asarray(0.1)` for what changes.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from bdjax.machine import backend, notes, storage
from bdjax.machine import mesh as meshes
from bdjax.types import Params

KEPT = 128  # programs; the one that was asked for longest ago goes first
_WHOLE = PartitionSpec()
_known: dict[Any, Callable] = {}


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
  lowered, numbers, result = _lowered(function, args, donate, mesh, spread)
  options = backend.compiler_options()
  where = [mesh] if mesh is not None else jax.devices()[:1]
  kind = (lowered.as_text(), *where, *sorted(options.items()))
  run = _known.pop(kind, None) or lowered.compile(compiler_options=options)
  _known[kind] = run
  if len(_known) > KEPT:
    del _known[next(iter(_known))]
  return Program(run, numbers, result)


def _lowered(function, args, donate, mesh, spread):
  closed, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
  numbers, out = closed.consts, None
  if traced(numbers):
    raise _Traced
  if mesh is not None:
    numbers = meshes.place(numbers, meshes.everywhere(mesh))
    out = NamedSharding(mesh, spread)
  count = len(numbers)

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
  lowered = jitted.lower(*numbers, *jax.tree.leaves(args))
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
  """Keeps compiled programs between runs, unless the user chose a place."""
  if jax.config.jax_compilation_cache_dir is None:
    folder = storage.cache("xla")

    def use() -> None:
      storage.probe(folder / "probe")  # JAX would complain of every program
      jax.config.update("jax_compilation_cache_dir", str(folder))

    notes.keep("compiled programs", folder, use)
