"""Numbers are arguments: what differs in them alone compiles once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.machine import programs
from bdjax.methods import registry, signature
from bdjax.training import learn, loop
from bdjax.types import Access


def test_what_a_function_closes_over_is_an_argument(compilations):
  def scaled(by):
    by = jnp.asarray(by)
    return programs.compiled(lambda x: x * by + 1, jnp.arange(3.0))

  one = scaled(2.0)
  before = len(compilations)
  other = scaled(5.0)
  assert before and len(compilations) == before
  x = jnp.arange(3.0)
  assert one(x).tolist() == [1, 3, 5] and other(x).tolist() == [1, 6, 11]


def line(slope, start):
  """Returns x * slope + start, and 1 as a constant of the function's own."""

  def at(x):
    return x * slope + start + jnp.asarray(np.ones(3, np.float32))

  return programs.compiled(at, jnp.arange(3.0))


def test_a_function_of_other_numbers_is_not_traced_again(traces):
  one, two = jnp.asarray(2.0), jnp.asarray(3.0)
  x = jnp.arange(3.0)
  first = line(one, two)
  before = len(traces)
  second = line(two, one)
  assert before and len(traces) == before
  assert first(x).tolist() == [4, 6, 8] and second(x).tolist() == [3, 6, 9]
  third = line(one, one)  # one array for both is another function
  assert third(x).tolist() == [3, 5, 7]


def test_another_precision_is_another_program(traces):
  def product():
    return programs.compiled(lambda x: x @ x, jnp.ones((3, 3)))

  plain = product()
  before = len(traces)
  with jax.default_matmul_precision("highest"):
    exact = product()
  assert len(traces) > before and exact.run is not plain.run


def test_python_s_numbers_are_constants(compilations):
  for by in (2.0, 5.0):
    before = len(compilations)
    programs.compiled(lambda x, by=by: x * by - 7, jnp.arange(3.0))
    assert len(compilations) > before


def test_within_a_trace_a_function_is_part_of_it():
  inner = programs.jit(lambda x: x + 1)
  assert jax.jit(lambda x: inner(x) * 2)(jnp.ones(2)).tolist() == [4, 4]

  def closing(y):
    return programs.jit(lambda x: x + y)(jnp.ones(2))

  assert jax.jit(closing)(jnp.ones(2)).tolist() == [2, 2]


@pytest.mark.parametrize("name", ["ft", "super_ft", "ft_sam"])
def test_a_second_learning_rate_compiles_nothing(
  toy, model, compilations, name
):
  make = registry.get("defenses", name)
  schema = signature.arguments(make)
  variables = learn.init_variables(jax.random.key(0), toy, model=model)
  access = Access(variables, toy, model=model)
  rate = "lr_max1" if name == "super_ft" else "lr"
  found = []
  for lr in (0.01, 0.05):
    before = len(compilations)
    numbers = signature.arrays(schema, {rate: lr})
    defense = make(epochs=1, batch_size=16, **numbers)
    done = defense.defend(jax.random.key(1), access, loop.host_fit())
    found.append((len(compilations) - before, done.variables))
  (first, one), (second, other) = found
  assert first and not second
  moved = jax.tree.map(lambda a, b: bool((a != b).any()), one, other)
  assert any(jax.tree.leaves(moved))  # and it is another rate


def test_super_fine_tuning_is_fine_tuning_with_other_rates(
  toy, compilations, traces
):
  model = registry.get("models", "cnn")(4, width=5)  # no other test has it
  variables = learn.init_variables(jax.random.key(0), toy, model=model)
  access = Access(variables, toy, model=model)
  found = []
  for name, more in (("ft", {}), ("super_ft", {"phase1_epochs": 1})):
    defense = registry.get("defenses", name)(epochs=2, batch_size=16, **more)
    before = len(compilations), len(traces)
    defense.defend(jax.random.key(1), access, loop.host_fit())
    found.append((len(compilations) - before[0], len(traces) - before[1]))
  (first, whole), (second, rest) = found
  assert second <= 1 < first  # the list of its rates
  assert rest < whole
