import chex
import jax
import jax.numpy as jnp
import optax
import pytest

from bdjax.attacks.parts import joint
from bdjax.training import engine, learn, loop
from bdjax.types import Regime


@pytest.fixture(scope="module")
def prepared(task, model, toy):
  made = joint.training(task)
  variables = learn.init_variables(jax.random.key(0), toy, model=model)
  partner = learn.TrainState({"params": jnp.ones(2)}, (), jnp.int32(0))
  return made, joint.Joint(made.start(variables), partner)


def dirty(key, state, batch):
  """Moves the partner only."""
  del key
  params = state.partner.variables["params"] + 1
  partner = state.partner.replace(variables={"params": params})
  lr = optax.constant_schedule(0.0)
  metrics = learn.report(
    jnp.float32(0), jnp.zeros((16, 4)), batch.label, state.victim.step, lr
  )
  return state.replace(partner=partner), metrics


def test_interleaving_takes_turns_and_a_clean_turn_spares_the_partner(
  prepared, toy
):
  made, state = prepared
  assert joint.turns(dirty, made.step, Regime()) == (dirty,)
  first, clean = joint.turns(dirty, made.step, Regime(interleave=True))
  assert first is dirty
  batch = engine.take(toy, jnp.arange(16))
  after, metrics = jax.jit(clean)(jax.random.key(1), state, batch)
  chex.assert_trees_all_equal(after.partner, state.partner)
  plain, same = jax.jit(made.step)(jax.random.key(1), state.victim, batch)
  chex.assert_trees_all_equal(after.victim, plain)
  chex.assert_trees_all_equal(metrics, same)


def test_turns_fit_in_one_program(prepared, task):
  made, state = prepared
  steps = joint.turns(dirty, made.step, Regime(interleave=True))
  after, _ = jax.eval_shape(
    lambda: loop.scan_fit(
      jax.random.key(1), steps, state, task.train, epochs=4, batch_size=16
    )
  )
  chex.assert_trees_all_equal_shapes_and_dtypes(after, state)


def test_the_rate_spans_the_planned_epochs(task):
  plain = joint.training(task, regime=Regime())
  assert plain.epochs == 2 and float(plain.lr(0)) == pytest.approx(0.05)
  assert float(plain.lr(2 * 4)) == pytest.approx(0, abs=1e-8)
  longer = joint.training(task, epochs=5, regime=Regime(interleave=True))
  assert longer.epochs == 10
  assert float(longer.lr(5 * 4)) == pytest.approx(0.025)
