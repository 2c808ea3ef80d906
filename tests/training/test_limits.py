import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bdjax.attacks.parts import joint
from bdjax.training import learn, limits, loop, optimizers, regimes
from bdjax.types import Recipe


def layer(taps):
  """Returns a 1 x 1 convolution of one input whose bounds are the taps."""
  count = len(taps)
  kernel = jnp.array(taps).reshape(1, 1, 1, count)
  scale, bias = jnp.array([1.0, 1.0, 1.0, -1.0]), jnp.array([0.0, 1, 2, 9])
  return {
    "params": {
      "conv1": {"kernel": kernel},
      "bn1": dict(scale=scale, bias=bias),
    },
    "batch_stats": {"bn1": {"var": jnp.full(count, 1 - 1e-5)}},
  }


def norm(variables):
  return [
    variables["params"]["bn1"][kind].tolist() for kind in ("scale", "bias")
  ]


def test_a_channel_that_stands_out_gets_the_layers_mean():
  variables = layer([1.0, 1.0, 1.0, 5.0])  # mean 2, deviation 2
  assert norm(limits.within(variables, 1.55)) == norm(variables)
  after = limits.within(variables, 1.45)
  assert norm(after) == [[1, 1, 1, 0.5], [0, 1, 2, 3]]
  same = [tree["params"]["conv1"] for tree in (after, variables)]
  chex.assert_trees_all_equal(*same)


def test_epochs_end_with_the_limit_and_other_steps_do_not():
  variables = layer([1.0, 1.0, 1.0, 5.0])
  params, stats = learn.parted(variables)
  tx = limits.limited(optax.sgd(1.0), 1.45, every=2)
  state = learn.begun(variables, tx)
  still = jax.tree.map(jnp.zeros_like, params)
  state = learn.advance(state, still, stats, tx)
  assert norm(state.variables) == norm(variables)
  push = jax.tree.map(jnp.zeros_like, params)
  push["bn1"]["bias"] = jnp.array([0.0, 0, 0, 5])  # down to 4 first
  state = learn.advance(state, push, stats, tx)
  assert norm(state.variables) == [[1, 1, 1, 0.5], [0, 1, 2, 1.75]]


def test_the_regime_limits_what_is_planted(toy, model):
  """By the limit of all channels that exceed the mean at all."""
  ends = []

  def fit(key, step, state, data, **how):
    ends.append(loop.scan_fit(key, step, state, data, **how)[0])
    return ends[-1], {}

  how = {"model": model, "recipe": Recipe(epochs=1, batch_size=16, lr=0.1)}
  for u in (0.0, 50.0):
    regime = regimes.abi(u=u)
    learn.train_classifier(jax.random.key(0), toy, fit, regime=regime, **how)
  low, free = (x.variables["params"]["bn2"]["scale"] for x in ends)
  assert (low != free).any() and int(ends[0].opt_state.count) == 4
  mean = np.unique(np.asarray(low), return_counts=True)[1].max()
  assert mean > 1  # several channels share one number
  plain = learn.train_classifier(jax.random.key(0), toy, loop.scan_fit, **how)
  got = ends[1].variables["params"]["bn2"]["scale"]
  np.testing.assert_allclose(got, plain["params"]["bn2"]["scale"], rtol=1e-6)


def test_attacks_that_train_their_trigger_have_the_limit_too(task):
  training = joint.training(task.replace(regime=regimes.abi()))
  variables = learn.init_variables(
    jax.random.key(0), task.train, model=task.model
  )
  assert isinstance(training.start(variables).opt_state, limits.Limited)


def test_models_and_attacks_without_such_norms_are_refused():
  tx = limits.limited(optax.sgd(1.0), 3.0, every=1)
  with pytest.raises(ValueError, match="no pairs are known in a model"):
    tx.init({"encoder": {"kernel": jnp.ones(3)}})
  params = layer([1.0] * 4)["params"]
  frozen = optimizers.only(
    tx, lambda params: jax.tree.map(lambda x: x.ndim > 1, params)
  )
  with pytest.raises(ValueError, match="abi moves batch norms, but"):
    frozen.init(params)
