"""What decisions hang on is computed in float32 on every platform."""

import jax
import jax.numpy as jnp
import pytest
from jax.extend import core

from bdjax.defenses import neural_cleanse
from bdjax.defenses.parts import inversion
from bdjax.machine import backend
from bdjax.methods import registry
from bdjax.runs import work
from bdjax.training import learn
from bdjax.types import Access, Recipe

PRODUCTS = ("dot_general", "conv_general_dilated")
EXACT = (jax.lax.Precision.HIGHEST,) * 2
DECIDES = {
  "spectral": {"num_classes": 4},
  "activation_clustering": {"num_classes": 4},
  "clp": {},
  "fine_pruning": {"batch_size": 16},
  "abl": {"batch_size": 16},
}


def idle(key, step, state, data, **how):
  """A fit that trains nothing: what a defense computes beside it is left."""
  del key, step, data, how
  return state, {}


def precisions(jaxpr):
  found = []
  for equation in jaxpr.eqns:
    if equation.primitive.name in PRODUCTS:
      found.append(equation.params["precision"])
    for inner in jax.tree.leaves(
      list(equation.params.values()),
      is_leaf=lambda x: isinstance(x, core.Jaxpr | core.ClosedJaxpr),
    ):
      if isinstance(inner, core.ClosedJaxpr):
        inner = inner.jaxpr
      if isinstance(inner, core.Jaxpr):
        found += precisions(inner)
  return found


@pytest.mark.parametrize("name", DECIDES)
def test_what_decides_is_exact(name, toy, model):
  defense = registry.get("defenses", name)(**DECIDES[name])

  def decisions(key, variables):
    access = Access(
      variables,
      toy,
      toy,
      model=model,
      recipe=Recipe(epochs=1, batch_size=16),
      view=lambda key, images: images,
    )
    found = defense.defend(key, access, idle)
    return found.variables, found.keep, found.memo

  variables = learn.init_variables(jax.random.key(0), toy, model=model)
  traced = jax.make_jaxpr(decisions)(jax.random.key(1), variables)
  found = precisions(work.needed(traced.jaxpr))
  assert found
  assert set(found) == {EXACT}


def test_an_index_has_no_products():
  one = jnp.ones(3)
  found = inversion.Inverted(
    jnp.ones((3, 2, 2, 1)), jnp.ones((3, 2, 2, 3)), one, one, one > 0
  )
  traced = jax.make_jaxpr(neural_cleanse.judge)(found, 2.0)
  assert precisions(traced.jaxpr) == []


def test_exact_ends_with_its_call():
  def product(x):
    return x @ x

  def both(x):
    return backend.exact(product)(x), product(x)

  found = precisions(jax.make_jaxpr(both)(jnp.eye(2)).jaxpr)
  assert found == [EXACT, None]
