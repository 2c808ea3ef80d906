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
from jax.sharding import Mesh

from bdjax import backend
from bdjax import mesh as meshes
from bdjax.types import Params

KEPT = 128  # programs; the one that was asked for longest ago goes first
_known: dict[Any, Callable] = {}


class _Traced(Exception):
  """A function closes over a tracer: it is being traced with its caller."""


class Program(NamedTuple):
  """A compiled function, and the arrays it closes over."""

  run: Callable[..., list[jax.Array]]  # of flat arrays
  numbers: list[jax.Array]
  result: Any  # structure of what the function returns

  def __call__(self, *args: Params) -> Any:
    """Runs the function; arguments must be like those it was compiled for."""
    return self.result.unflatten(
      self.run(*self.numbers, *jax.tree.leaves(args))
    )


def compiled(
  function: Callable,
  *args: Params,
  donate: Sequence[int] = (),
  mesh: Mesh | None = None,
) -> Program:
  """Compiles a function for these arguments with the platform's options.

  Args:
    function: pure; what it closes over may not be a tracer.
    *args: arrays; with a mesh, laid out on it.
    donate: positions of the arguments whose memory the result may take.
    mesh: whose devices all hold the whole result; None for one device.
  """
  lowered, numbers, result = _lowered(function, args, donate, mesh)
  options = backend.compiler_options()
  where = [mesh] if mesh is not None else jax.devices()[:1]
  kind = (lowered.as_text(), *where, *sorted(options.items()))
  run = _known.pop(kind, None) or lowered.compile(compiler_options=options)
  _known[kind] = run
  if len(_known) > KEPT:
    del _known[next(iter(_known))]
  return Program(run, numbers, result)


def lowered(
  function: Callable,
  *args: Params,
  donate: Sequence[int] = (),
  mesh: Mesh | None = None,
) -> jax.stages.Lowered:
  """Returns what `compiled` compiles, for whatever the arguments lie on."""
  return _lowered(function, args, donate, mesh)[0]


def _lowered(function, args, donate, mesh):
  closed, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
  whole = None if mesh is None else meshes.everywhere(mesh)
  numbers = (
    closed.consts if mesh is None else meshes.place(closed.consts, whole)
  )
  count = len(numbers)

  def flat(*arrays):
    return jax.core.eval_jaxpr(closed.jaxpr, arrays[:count], *arrays[count:])

  donated, place = [], count
  for i, arg in enumerate(args):
    size = len(jax.tree.leaves(arg))
    donated += range(place, place + size) if i in donate else ()
    place += size
  jitted = jax.jit(flat, donate_argnums=tuple(donated), out_shardings=whole)
  made = jitted.lower(*numbers, *jax.tree.leaves(args))
  return made, numbers, jax.tree.structure(shapes)


def jit(function: Callable) -> Callable:
  """Returns a function compiled for its arguments when called.

  As `jax.jit`, but what it closes over is an argument too. Within a trace it is
  part of that.
  """

  @functools.wraps(function)
  def call(*args, **named):
    leaves = jax.tree.leaves((args, named))
    if any(isinstance(x, jax.core.Tracer) for x in leaves):
      return function(*args, **named)
    args, named = jax.tree.map(jnp.asarray, (args, named))
    try:
      program = compiled(
        lambda args, named: function(*args, **named), args, named
      )
    except _Traced:
      return function(*args, **named)
    return program(args, named)

  return call
