import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.defenses.parts import pruning, unlearning
from bdjax.training import engine, learn, optimizers
from bdjax.types import Recipe


@pytest.fixture(scope="module")
def down(suspect):
  """Returns a compiled step of unlearning, which stops at accuracy .2."""
  tx = optimizers.sgd(0.1, momentum=0.0, weight_decay=0.01)
  return tx, jax.jit(unlearning.unlearn(suspect, tx, 0.2))


def begun(suspect, tx, accuracy=1.0):
  params = suspect.variables["params"]
  return unlearning.Unlearning(params, tx.init(params), jnp.array(accuracy))


def batch(suspect):
  return engine.take(suspect.clean, jnp.arange(16))


def test_unlearning_climbs_the_loss_and_decays_the_weights(suspect, down):
  tx, step = down
  state = begun(suspect, tx)
  after, metrics = step(jax.random.key(0), state, batch(suspect))
  images, label, _ = batch(suspect)
  _, stats = learn.parted(suspect.variables)

  @jax.jit
  @jax.value_and_grad
  def loss(params):
    (logits, _), _ = learn.forward(suspect.model, params, stats, images)
    return -jax.nn.log_softmax(logits)[jnp.arange(16), label].mean()

  value, grads = loss(state.params)
  np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
  wanted = jax.tree.map(
    lambda w, g: w + 0.1 * (g - 0.01 * w), state.params, grads
  )
  chex.assert_trees_all_close(after.params, wanted, rtol=1e-4, atol=1e-6)
  assert after.accuracy == metrics["accuracy"] > 0.2


def test_unlearning_stops_for_good_at_the_stop_accuracy(suspect, down):
  tx, step = down
  known = batch(suspect)  # of which more than .2 is right
  ones = pruning.ones(suspect.variables)
  logits = jax.jit(
    lambda images: pruning.logits(
      suspect.model, suspect.variables, images, ones
    )
  )(known.image)
  wrong = known._replace(label=logits.argmin(-1))
  state = begun(suspect, tx)
  over, metrics = step(jax.random.key(0), state, wrong)
  assert metrics["accuracy"] == 0 and np.isfinite(metrics["loss"])
  chex.assert_trees_all_equal(over, state._replace(accuracy=jnp.array(0.0)))
  still, metrics = step(jax.random.key(0), over, known)
  assert metrics["accuracy"] > 0.2
  chex.assert_trees_all_equal(still, over)


def unlearned(suspect, **args):
  """Returns the suspect after unlearning a single batch, if any."""

  def fit(key, step, state, data, *, epochs, **how):
    for _ in range(epochs):
      state, _ = jax.jit(step)(key, state, batch(suspect))
    return state, {}

  recipe = Recipe(epochs=1, batch_size=16).replace(**args)
  how = {"rate": 0.1, "stop": 1.0}
  key = jax.random.key(0)
  return unlearning.descend(key, suspect, suspect.clean, fit, recipe, **how)


def test_the_accuracy_is_of_a_batch_that_was_looked_at(suspect, down):
  params = suspect.variables["params"]
  none = unlearned(suspect, epochs=0)
  assert np.isnan(none.accuracy)
  chex.assert_trees_all_equal(none.params, params)
  tx, step = down
  _, seen = step(jax.random.key(0), begun(suspect, tx), batch(suspect))
  ended = unlearned(suspect)  # any accuracy is enough
  assert ended.accuracy == seen["accuracy"] < 1
  chex.assert_trees_all_equal(ended.params, params)


def test_the_unlearning_state_is_no_classifier_to_probe(suspect, down):
  assert learn.classifiers(begun(suspect, down[0])) == []
