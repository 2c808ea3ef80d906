import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.defenses import tsbd
from bdjax.defenses.parts import unlearning
from bdjax.methods import registry
from bdjax.training import engine, loop, optimizers


def make(**args):
  small = {"batch_size": 16, "unlearn_epochs": 1, "epochs": 1}
  return registry.get("defenses", "tsbd")(**(small | args))


def model_of(**kernels):
  """Returns variables with a kernel per layer, and a last layer."""
  params = {k: {"kernel": np.float32(v)} for k, v in kernels.items()}
  last = {"kernel": np.ones((2, 3), np.float32)}
  return {"params": params | {"linear": last}}


def test_the_most_changed_weights_of_the_most_changed_neurons_are_zero():
  before = model_of(a=np.full((1, 2, 2, 2), 1.0), b=np.full((1, 1, 2, 3), 2.0))
  after = jax.tree.map(np.array, before["params"])
  # Neurons' changes: of a 10 (1, 2, 3, 4) and 4; of b .2, 9 (9, 0) and 3.
  up = np.float32([[[[1.0, 1.0], [-2.0, 1.0]], [[3.0, 1.0], [-4.0, 1.0]]]])
  after["a"]["kernel"] += up
  after["b"]["kernel"] += np.float32([[[[0.1, 9.0, -3.0], [0.1, 0.0, 0.0]]]])
  after["linear"]["kernel"] += 100.0
  run = jax.jit(tsbd.zeroed)
  found, count = run(before, after, neurons=0.4, weights=0.5)
  wanted = model_of(
    a=[[[[1.0, 1.0], [1.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]]],
    b=[[[[2.0, 0.0, 2.0], [2.0, 2.0, 2.0]]]],
  )  # of the six weights of two neurons those that changed by 9, 4 and 3
  chex.assert_trees_all_equal(found, wanted)
  assert count == 3


@pytest.mark.parametrize(
  ("neurons", "weights"), [(0.15, 0.7), (0.5, 0.1), (1.0, 1.0), (0.0, 1.0)]
)
def test_shares_are_those_that_numpy_takes_in_turn(neurons, weights, suspect):
  rng = np.random.default_rng(0)
  before = suspect.variables
  after = jax.tree.map(
    lambda w: w + rng.standard_normal(w.shape, np.float32), before["params"]
  )
  run = jax.jit(tsbd.zeroed)  # the shares are traced
  found, count = run(before, after, neurons=neurons, weights=weights)
  ranking = []
  for name in ("conv1", "conv2", "conv3"):
    change = after[name]["kernel"] - before["params"][name]["kernel"]
    for c in range(change.shape[-1]):
      every = np.abs(np.asarray(change[..., c])).ravel()
      ranking.append((every.sum(), name, c, every))
  ranking.sort(key=lambda entry: -entry[0])
  chosen = ranking[: round(neurons * len(ranking))]
  pool = sorted((x for *_, every in chosen for x in every), reverse=True)
  pool = pool[: round(weights * len(pool))]
  wanted = jax.tree.map(np.array, before)
  for _, name, c, every in chosen:
    flat = wanted["params"][name]["kernel"][..., c]
    flat[np.isin(every, pool).reshape(flat.shape)] = 0.0
  chex.assert_trees_all_equal(found, wanted)
  assert count == len(pool)


def test_what_did_not_change_stays_and_shortcuts_have_no_neurons():
  before = model_of(a=np.ones((1, 1, 1, 2)))
  found, count = tsbd.zeroed(before, before["params"], neurons=1.0, weights=1.0)
  chex.assert_trees_all_equal(found, before)
  assert count == 0
  block = {"conv1": before["params"]["a"], "shortcut": before["params"]["a"]}
  params = {"layer2_0": block, "linear": before["params"]["linear"]}
  assert tsbd.convolutions(params) == [("layer2_0", "conv1", "kernel")]


@pytest.mark.parametrize(
  ("norm", "ahead"),
  # The gradient of (a^2 + 3 b^2) / 2 is (a, 3 b) = (3, 4) at a = 3, b = 4/3.
  [("each", (3.5, 3 * (4 / 3 + 0.5))), ("all", (3.3, 3 * (4 / 3 + 0.4)))],
)
def test_a_step_mixes_the_gradients_here_and_ahead(norm, ahead):
  def grad_fn(params, i):
    return {"a": params["a"], "b": 3 * params["b"]}

  params = {"a": jnp.array([3.0]), "b": jnp.array([4 / 3])}
  tx = tsbd.gradient_penalty(
    optimizers.sgd(0.1, momentum=0.0, weight_decay=0.5),
    radius=0.5,
    alpha=0.75,
    norm=norm,
  )
  updates, _ = tx.update(
    grad_fn(params, 0), tx.init(params), params, grad_fn=grad_fn
  )
  a = 0.25 * 3 + 0.75 * ahead[0] + 0.5 * 3
  b = 0.25 * 4 + 0.75 * ahead[1] + 0.5 * 4 / 3
  wanted = {"a": np.array([-0.1 * a]), "b": np.array([-0.1 * b])}
  chex.assert_trees_all_close(updates, wanted, rtol=1e-5)


def test_such_steps_descend_the_loss_and_its_gradients_norm():
  """To first order in the radius, on a loss that is no parabola."""

  def loss(w):
    return jnp.sum(jnp.cosh(w)) + w[0] * w[1] ** 2

  def both(w):
    return loss(w) + 0.7 * 1e-3 * jnp.linalg.norm(jax.grad(loss)(w))

  w = jnp.array([0.4, -0.7])
  tx = tsbd.gradient_penalty(
    optimizers.sgd(1.0, momentum=0.0, weight_decay=0.0),
    radius=1e-3,
    alpha=0.7,
    norm="each",
  )
  here = jax.grad(loss)(w)
  updates, _ = tx.update(
    here, tx.init(w), w, grad_fn=lambda w, i: jax.grad(loss)(w)
  )
  more = jax.grad(both)(w) - here
  np.testing.assert_allclose(-updates - here, more, rtol=0.02)


def test_a_gradient_of_zero_moves_nothing():
  w = jnp.array([1.0, 2.0])
  tx = tsbd.gradient_penalty(
    optimizers.sgd(0.1), radius=0.05, alpha=0.7, norm="each"
  )
  zero = jnp.zeros(2)
  updates, _ = tx.update(
    zero, tx.init(w), w, grad_fn=lambda w, i: w - jnp.array([1.0, 2.0])
  )
  np.testing.assert_allclose(updates, -0.1 * 5e-4 * w, rtol=1e-6)


def test_two_stages_of_the_suspect_by_hand(slope, suspect):
  """Unlearning is given; a step of tuning follows, without alpha."""
  asked = []
  batch = engine.take(suspect.clean, jnp.arange(16))

  def fit(key, step, state, data, **how):
    assert data is suspect.clean
    asked.append((how["name"], how["epochs"], how["batch_size"]))
    if how["name"] == "unlearn":
      chex.assert_trees_all_equal(state.params, suspect.variables["params"])
      ends = jax.tree.map(jnp.copy, state.params)
      conv = ends["conv2"]
      conv["kernel"] = conv["kernel"].at[..., 1].add(1.0)
      return state._replace(params=ends, accuracy=jnp.array(0.0)), {}
    return jax.jit(step)(key, state, batch)

  defense = make(unlearn_epochs=7, weights=1.0, alpha=0.0, neurons=1 / 28)
  found = defense.defend(jax.random.key(0), suspect, fit)
  assert asked == [("unlearn", 7, 16), ("tune", 1, 16)]
  params = jax.tree.map(jnp.copy, suspect.variables["params"])
  params["conv2"]["kernel"] = params["conv2"]["kernel"].at[..., 1].set(0.0)
  assert found.memo["pruned"] == params["conv2"]["kernel"][..., 1].size
  assert found.memo["unlearned"] == 0

  grads = slope(params)
  wanted = jax.tree.map(lambda w, g: w - 0.01 * g, params, grads)
  chex.assert_trees_all_close(
    found.variables["params"], wanted, rtol=1e-4, atol=1e-6
  )


def test_unlearning_has_its_rate_and_momentum_and_no_decay(suspect):
  batch = engine.take(suspect.clean, jnp.arange(16))
  seen = {}

  def fit(key, step, state, data, **how):
    if how["name"] == "unlearn":
      run = jax.jit(step)
      for _ in range(2):
        state, _ = run(key, state, batch)
      seen["params"] = state.params
    return state, {}

  args = {"unlearn_lr": 0.01, "momentum": 0.5, "weight_decay": 0.3}
  make(stop=0.0, **args).defend(jax.random.key(0), suspect, fit)
  tx = optimizers.sgd(0.01, momentum=0.5, weight_decay=0.0)
  params = suspect.variables["params"]
  state = unlearning.Unlearning(params, tx.init(params), jnp.ones(()))
  step = jax.jit(unlearning.unlearn(suspect, tx, 0.0))
  for _ in range(2):
    state, _ = step(jax.random.key(0), state, batch)
  chex.assert_trees_all_close(seen["params"], state.params, rtol=1e-6)


def test_no_unlearning_and_no_epochs_are_the_identity(suspect):
  defense = make(unlearn_epochs=0, epochs=0)
  found = defense.defend(jax.random.key(0), suspect, loop.host_fit())
  chex.assert_trees_all_equal(found.variables, suspect.variables)
  assert found.memo["pruned"] == 0 and np.isnan(found.memo["unlearned"])


def test_a_model_without_convolutions_is_refused(suspect):
  variables = {"params": {"linear": {"kernel": jnp.ones((2, 3))}}}
  dense = suspect.replace(variables=variables)
  sentence = r"^none of the layers \['linear'\] is a convolution[^.]*\.$"
  with pytest.raises(ValueError, match=sentence):
    make().defend(jax.random.key(0), dense, None)


@pytest.mark.parametrize(
  ("args", "sentence"),
  [
    ({"neurons": 1.5}, r"tsbd\.neurons is 1\.5, but must be"),
    ({"weights": -0.1}, r"tsbd\.weights is -0\.1, but must be"),
    ({"radius": -1.0}, r"tsbd\.radius is -1\.0, but must be"),
    ({"alpha": 2.0}, r"tsbd\.alpha is 2\.0, but must be"),
    ({"norm": "some"}, r"tsbd\.norm is 'some', but must be"),
  ],
)
def test_bad_arguments_are_named(args, sentence):
  with pytest.raises(ValueError, match=sentence):
    make(**args)
