"""Numbers are arguments: what differs in them alone compiles once."""

import jax
import jax.numpy as jnp
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
