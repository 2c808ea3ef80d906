import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bdjax.defenses.parts import last
from bdjax.methods import registry
from bdjax.models.parts import heads
from bdjax.runs import work
from bdjax.training import learn, optimizers

ZOO = registry.names("models")


def blank(model, images=(1, 32, 32, 3)):
  """Returns the shapes of a model's variables."""
  return jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(images))


def paths(tree, wanted):
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {jax.tree_util.keystr(path) for path, leaf in leaves if leaf is wanted}


@pytest.mark.parametrize("name", ZOO)
def test_the_last_layer_of_each_model_is_known(name):
  model = registry.get("models", name)(4, mean=(0.5,) * 3, std=(0.25,) * 3)
  size = getattr(model, "size", None) or 32
  params = blank(model, (1, size, size, 3))["params"]
  layer = {"['linear']['kernel']", "['linear']['bias']"}
  assert paths(last.alone(params), True) == layer
  assert not paths(last.others(params), True) & layer


@pytest.mark.parametrize("name", heads.HEADS)
def test_the_last_layer_of_a_head_is_its_linear_one(name, model):
  user = heads.Headed(model.clone(num_classes=0), heads.make(name, 4))
  params = blank(user, (1, 8, 8, 3))["params"]
  layer = {"['head']['linear']['kernel']", "['head']['linear']['bias']"}
  assert paths(last.alone(params), True) == layer


def test_nothing_but_the_last_layer_is_drawn_and_as_pytorch_draws(suspect):
  before = suspect.variables
  after = last.drawn(jax.random.key(1), before)
  same = jax.tree.map(lambda a, b: bool((a == b).all()), before, after)
  assert paths(same, False) == {
    "['params']['linear']['kernel']",
    "['params']['linear']['bias']",
  }
  features = 4096
  wide = {"linear": {"kernel": jnp.zeros((features, 8)), "bias": jnp.zeros(8)}}
  layer = last.drawn(jax.random.key(0), {"params": wide})["params"]["linear"]
  bound = features**-0.5
  assert bound * 0.99 < jnp.abs(layer["kernel"]).max() <= bound
  # of a uniform number: variance b^2 / 3; 32,768 draws tell it to 1 %
  spread = jnp.sqrt(jnp.mean(layer["kernel"] ** 2))
  np.testing.assert_allclose(spread, bound / np.sqrt(3), rtol=0.02)
  assert 0 < jnp.abs(layer["bias"]).max() <= bound


def test_the_weights_are_held_at_a_norm_by_hand():
  params = {
    "conv": jnp.array([1.0]),
    "linear": {"kernel": jnp.array([[3.0], [4.0]]), "bias": jnp.array([2.0])},
  }
  grads = {
    "conv": jnp.array([1.0]),
    "linear": {"kernel": jnp.array([[0.0], [-8.0]]), "bias": jnp.array([4.0])},
  }
  tx = last.held(optax.sgd(0.5), jnp.array(10.0))
  updates, _ = tx.update(grads, tx.init(params), params)
  moved = optax.apply_updates(params, updates)
  # a plain step: [3, 8], of norm sqrt(73)
  wanted = np.array([[3.0], [8.0]]) * 10 / np.sqrt(73)
  np.testing.assert_allclose(moved["linear"]["kernel"], wanted, rtol=1e-6)
  assert moved["linear"]["bias"] == 0 and moved["conv"] == 0.5


@pytest.mark.parametrize("moving", [False, True])
def test_a_probe_has_no_gradient_but_the_last_layers(moving, suspect):
  probe = last.Probed(suspect.model, moving)
  params, stats = learn.parted(suspect.variables)
  images = suspect.clean.image[:8] / 255
  label = suspect.clean.label[:8]

  def loss(model):
    def entropy(params):
      (logits, _), new = learn.forward(model, params, stats, images)
      return learn.entropy(logits, label), new

    return jax.jit(jax.grad(entropy, has_aux=True))(params)

  grads, new = loss(probe)
  zero = jax.tree.map(lambda g: bool((g == 0).all()), grads)
  assert paths(zero, True) == paths(last.others(params), True)
  moved = not jax.tree.all(jax.tree.map(jnp.array_equal, new, stats))
  assert moved == moving
  if moving:
    whole, same = loss(suspect.model)
    np.testing.assert_allclose(last.kernel(grads), last.kernel(whole), 1e-5)
    jax.tree.map(np.testing.assert_array_equal, new, same)
  else:
    apply = jax.jit(suspect.model.apply)
    logits, features = apply(suspect.variables, images)
    error = nn.softmax(logits) - jax.nn.one_hot(label, 4)
    wanted = features["pooled"].T @ error / 8
    np.testing.assert_allclose(last.kernel(grads), wanted, rtol=1e-4, atol=1e-7)


def test_a_probes_step_costs_a_forward_pass(suspect):
  def operations(model, tx):
    init, step = learn.supervised(model, tx)
    state = init(suspect.variables)
    return work.step_flop(step, state, suspect.clean, 16)

  tx = optimizers.only(optimizers.sgd(0.1), last.alone)
  probe = operations(last.Probed(suspect.model, False), tx)
  images = jnp.zeros((16, 8, 8, 3))
  forward = work.flop(
    jax.make_jaxpr(lambda x: suspect.model.apply(suspect.variables, x)[0])(
      images
    ).jaxpr
  )
  gradient = 2 * 16 * np.prod(last.kernel(suspect.variables["params"]).shape)
  assert probe == forward + gradient
  assert operations(suspect.model, optimizers.sgd(0.1)) > 2 * forward
