"""Functions that differ in their arrays' values alone are alike, no others."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bdjax.machine import closures, programs
from bdjax.methods import registry


class Pair(NamedTuple):
  one: object
  other: object


def over(value, *more):
  """Returns a function that closes over a value, made anew."""

  def inner(x, by=2):
    return x, by, value

  return functools.partial(lambda x: (inner(x), more))


def look(function):
  return closures.described(function)[0]


def array(*values):
  return jnp.asarray(values, jnp.float32)


@pytest.mark.parametrize(
  "make",
  [
    lambda: array(1, 2),
    lambda: {"a": [1, (2.5, None)], "b": np.arange(3)},
    lambda: Pair(array(1), "text"),
    lambda: jax.random.key(0),
    lambda: float("nan"),
    lambda: registry.get("models", "cnn")(4, width=2, mean=(0.5,) * 3),
    lambda: optax.sgd(0.1, momentum=0.9),
    lambda: jax.vmap(over(array(1))),
    lambda: jnp.where,
    lambda: frozenset("ab"),
  ],
)
def test_what_is_made_anew_is_alike(make):
  assert look(over(make())) == look(over(make()))


def test_values_of_arrays_are_no_part_of_it():
  a, b, c = array(1), array(2), array(3)
  one, held = closures.described(over((a, {"x": b}, a)))
  other, others = closures.described(over((b, {"x": c}, b)))
  assert one == other
  assert [x is y for x, y in zip(held, (a, b), strict=True)] == [True, True]
  assert [x is y for x, y in zip(others, (b, c), strict=True)] == [True, True]


@pytest.mark.parametrize(
  ("one", "other"),
  [
    (1, 2),
    (1, 1.0),
    (1, True),
    (0.0, -0.0),
    (array(1), array(1, 2)),
    (array(1), array(1).astype(jnp.bfloat16)),
    (np.arange(3), np.arange(1, 4)),
    ({"a": 1}, {"b": 1}),
    ((1, 2), [1, 2]),
    (Pair(1, 2), (1, 2)),
    (lambda x: x + 1, lambda x: x + 2),
    (jnp.where, jnp.sum),
    (jax.random.key(0), jax.random.key_data(jax.random.key(0))),
  ],
)
def test_what_may_matter_tells_them_apart(one, other):
  assert look(over(one)) != look(over(other))


def test_one_array_twice_is_not_two():
  a, b = array(1), array(1)
  assert look(over((a, a))) != look(over((a, b)))


def test_a_function_that_calls_itself_ends():
  def make():
    def down(n):
      return down(n - 1) if n else 0

    return down

  assert look(make()) == look(make())


def doubled(x):
  return 2 * x


STRENGTH = 0.1


@pytest.mark.parametrize(
  ("one", "other"),
  [(0.1, 0.3), (np.float32(0.1), np.float32(0.3)), ({"a": 1}, {"a": 2})],
)
def test_a_constant_that_is_set_anew_is_part_of_it(monkeypatch, one, other):
  def make():
    return lambda x: (x, STRENGTH)

  looks = []
  for value in (one, one, other):
    monkeypatch.setitem(globals(), "STRENGTH", value)
    looks.append(look(make()))
  assert looks[0] == looks[1] != looks[2]


def test_a_global_array_is_one_of_its_arrays(monkeypatch):
  monkeypatch.setitem(globals(), "STRENGTH", array(1.0))
  _, held = closures.described(lambda x: x * STRENGTH)
  assert held == [STRENGTH]


def test_a_constant_set_anew_is_computed_with(monkeypatch):
  def stamped():
    return programs.jit(lambda x: x + STRENGTH)(jnp.zeros(1)).item()

  for value in (0.1, 0.3, array(0.5), array(0.7)):
    monkeypatch.setitem(globals(), "STRENGTH", value)
    assert stamped() == pytest.approx(np.asarray(value).item())


def test_what_it_calls_by_name_is_part_of_it(monkeypatch):
  def make():
    return lambda x: [doubled(y) for y in x]

  before = look(make())
  assert look(make()) == before
  monkeypatch.setitem(globals(), "doubled", lambda x: 3 * x)
  assert look(make()) != before


def test_a_module_that_is_bound_to_variables_is_not_described():
  model = registry.get("models", "cnn")(4, width=2)
  image = jnp.zeros((1, 8, 8, 3))
  bound = model.bind(model.init(jax.random.key(0), image))
  with pytest.raises(closures.Unknown):
    look(over(bound))


def test_what_may_change_is_not_described():
  class Counter:
    count = 0

  with pytest.raises(closures.Unknown, match="Counter"):
    look(over(Counter()))
  with pytest.raises(closures.Unknown):
    look(over(np.zeros(closures.LARGEST)))

  def traced(x):
    with pytest.raises(closures.Unknown):
      look(over(x))
    return x

  jax.make_jaxpr(traced)(1.0)
