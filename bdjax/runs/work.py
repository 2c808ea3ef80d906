"""How much arithmetic a program asks for, without running or compiling it.

A stage of E epochs over N images in batches of B takes E * ceil(N / B) steps.
What a step multiplies is counted in its jaxpr: products of matrices and
convolutions, a multiplication and an addition each, loops times their length.
(XLA's own count takes a loop's body once, and needs a lowering per step.)
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.interpreters import partial_eval

from bdjax.training import engine
from bdjax.types import Dataset, Key, Metrics, State, Step


class Stage(NamedTuple):
  """One call of `fit` within a method.

  Attributes:
    name: of the stage.
    epochs: of it.
    batch_size: images per step.
    steps: optimizer steps in all.
    flop: floating-point operations in all; of a branch, the costlier side.
    state_bytes: what it trains: weights, statistics, the optimizer's.
  """

  name: str
  epochs: int
  batch_size: int
  steps: int
  flop: float
  state_bytes: int


def stages(
  program: Callable[..., Any],
  *args: Any,
  seen: Callable[..., None] | None = None,
) -> tuple[Any, list[Stage]]:
  """Traces a method and returns its result's shapes and what it trains.

  Args:
    program: (fit, *args) -> result; it must do all its training by `fit`.
    *args: arrays, or their shapes.
    seen: gets (key, step, state, data, batch_size, name) of each stage, while
      it is traced.
  """
  entries = []

  def fit(key, step, state, data, *, epochs, batch_size, name, params=None):
    del params
    if seen is not None:
      seen(key, step, state, data, batch_size, name)
    entries.append(_stage(key, step, state, data, epochs, batch_size, name))
    return _passed_by(key, step, state, data, epochs, batch_size)

  shapes = jax.eval_shape(lambda *args: program(fit, *args), *args)
  return shapes, entries


def beside(program: Callable[..., Any], *args: Any) -> float:
  """Returns a method's floating-point operations outside of its stages.

  Args:
    program: as `stages` takes it.
    *args: arrays, or their shapes.
  """

  def fit(key, step, state, data, *, epochs, batch_size, name, params=None):
    del name, params
    return _passed_by(key, step, state, data, epochs, batch_size)

  shapes = jax.eval_shape(lambda *args: args, *args)
  made = jax.make_jaxpr(lambda *args: program(fit, *args))(*shapes)
  return flop(needed(made.jaxpr))


def _stage(
  key: Key,
  step: Step | tuple[Step, ...],
  state: State,
  data: Dataset | tuple[Dataset, ...],
  epochs: int,
  batch_size: int,
  name: str,
) -> Stage:
  plan, steps, flop = engine.turns(step, data), 0, 0.0
  for place in range(len(plan.step)):
    step, data = plan.at(place)
    passes = len(range(place, epochs, len(plan.step)))
    count = passes * engine.steps_per_epoch(data.size, batch_size)
    steps += count
    flop += count * step_flop(step, state, data, batch_size)
  size = sum(
    x.size * jnp.dtype(x.dtype).itemsize
    for x in jax.tree.leaves(state)
    if not jnp.issubdtype(x.dtype, jax.dtypes.extended)
  )
  return Stage(name, epochs, batch_size, steps, flop, size)


def _passed_by(
  key: Key,
  step: Step,
  state: State,
  data: Dataset,
  epochs: int,
  batch_size: int,
) -> tuple[State, Metrics]:
  """Returns what a fit returns, untrained."""
  step, data = engine.turns(step, data).at(0)
  args = _step_args(key, state, data, batch_size)
  _, metrics = jax.eval_shape(step, *args)
  return state, jax.tree.map(lambda x: jnp.zeros(epochs, x.dtype), metrics)


def _step_args(
  key: Key, state: State, data: Dataset, batch_size: int
) -> tuple[Any, ...]:
  index = jax.ShapeDtypeStruct((batch_size,), jnp.int32)
  batch = jax.eval_shape(engine.take, data, index)
  shapes = jax.eval_shape(lambda *args: args, key, state)
  return (*shapes, batch)


def step_flop(
  step: Step, state: State, data: Dataset, batch_size: int
) -> float:
  """Returns the operations of one step on a batch of a dataset."""
  key = jax.random.key(0)
  args = _step_args(key, state, data, batch_size)
  return flop(needed(jax.make_jaxpr(step)(*args).jaxpr))


def needed(jaxpr: Any) -> Any:
  """Returns a jaxpr without what no result needs, as compilers do."""
  return partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))[0]


def flop(jaxpr: Any) -> float:
  """Returns the multiplications and additions of a jaxpr's products."""
  return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: Any) -> float:
  name, params = equation.primitive.name, equation.params
  if name == "dot_general":
    return _of_dot(equation)
  if name == "conv_general_dilated":
    return _of_convolution(equation)
  inner = [flop(needed(jaxpr)) for jaxpr in _inner(params)]
  if name == "scan":
    return params["length"] * sum(inner)
  return max(inner, default=0.0) if name == "cond" else sum(inner)


def _of_dot(equation: Any) -> float:
  (contracted, _), _ = equation.params["dimension_numbers"]
  shape = equation.invars[0].aval.shape
  depth = math.prod(shape[i] for i in contracted)
  return 2.0 * depth * equation.outvars[0].aval.size


def _of_convolution(equation: Any) -> float:
  # A dilated input is mostly zeros, which nobody need multiply.
  kernel, numbers = equation.invars[1].aval, equation.params
  axis = numbers["dimension_numbers"].rhs_spec[0]  # of the output's channels
  depth = kernel.size / kernel.shape[axis]
  zeros = math.prod(numbers["lhs_dilation"])
  batches = numbers["batch_group_count"]
  return 2.0 * depth * equation.outvars[0].aval.size / zeros / batches


def _inner(params: dict[str, Any]) -> Iterator[Any]:
  """Yields the jaxprs among an equation's parameters."""
  for value in params.values():
    for part in value if isinstance(value, tuple | list) else (value,):
      part = getattr(part, "jaxpr", part)
      if hasattr(part, "eqns"):
        yield part
