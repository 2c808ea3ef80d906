import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bdjax.methods import registry
from bdjax.models.parts import heads
from bdjax.training import learn, loop, optimizers
from bdjax.types import Access


@pytest.fixture(scope="module")
def access(toy, task):
  encoder = registry.get("models", "cnn")(0, width=4)
  model = heads.Headed(encoder, heads.MLP(4))
  variables = learn.init_variables(jax.random.key(0), toy, model=model)
  return Access(variables, toy, model=model, view=task.view)


def tuned(access, **args):
  defense = registry.get("defenses", "ft")(
    lr=0.01, epochs=2, batch_size=16, **args
  )
  return defense.defend(jax.random.key(1), access, loop.host_fit()).variables


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_head_alone_changes(access, optimizer):
  after = tuned(access, part="head", optimizer=optimizer)
  before = access.variables
  chex.assert_trees_all_equal(after["batch_stats"], before["batch_stats"])
  chex.assert_trees_all_equal(
    after["params"]["backbone"], before["params"]["backbone"]
  )
  for name in ("linear1", "linear2", "linear"):
    new, old = (v["params"]["head"][name]["kernel"] for v in (after, before))
    assert (new != old).any()


def test_everything_changes_otherwise(access):
  after = tuned(access)
  for old, new in zip(
    jax.tree.leaves(access.variables), jax.tree.leaves(after), strict=True
  ):
    assert (old != new).any()


def test_a_head_apart_is_needed(task):
  variables = learn.init_variables(
    jax.random.key(0), task.train, model=task.model
  )
  access = Access(variables, task.train, model=task.model)
  with pytest.raises(ValueError, match="CNN has no head apart.*part=all"):
    tuned(access, part="head")


def test_adam_adds_decay_to_the_gradient():
  tx = optimizers.adam(0.1, weight_decay=0.5)
  params = {"w": jnp.array([2.0, -4.0])}
  state = tx.init(params)
  grads = {"w": jnp.array([-1.0, 1.0])}  # with the decay: 0 and -1
  updates, _ = tx.update(grads, state, params)
  np.testing.assert_allclose(updates["w"], [0.0, 0.1], atol=1e-6)


def test_only_the_chosen_are_updated():
  params = {"a": jnp.ones(2), "b": jnp.ones(2)}
  tx = optimizers.only(
    optimizers.sgd(0.1, momentum=0.0, weight_decay=1.0),
    lambda params: {name: name == "a" for name in params},
  )
  updates, _ = tx.update(params, tx.init(params), params)
  after = optax.apply_updates(params, updates)
  np.testing.assert_allclose(after["a"], 0.8)
  np.testing.assert_array_equal(after["b"], 1.0)
