import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bdjax.defenses.parts import descent
from bdjax.methods import registry
from bdjax.models.parts import pairs
from bdjax.training import adversarial, engine, learn, loop

npd = registry.module("defenses", "npd")


def polarizer(channels):
  """Returns a polarizer's layer and statistics of random numbers."""
  rng = np.random.default_rng(1)
  c = {name: jnp.float32(rng.uniform(0.5, 1.5, channels)) for name in "abcd"}
  kernel = jnp.float32(rng.normal(size=(channels, channels)))
  layer = {"kernel": kernel, "scale": c["a"], "bias": c["b"]}
  return layer, {"mean": c["c"], "var": c["d"]}


PLACES = {
  "cnn": "conv3",
  "preact_resnet18": "layer4_1/conv1",
  "resnet18": "layer4_1/conv1",
  "resnet50": "layer4_2/conv1",
  "resnet9": "conv5",
  "vgg16_bn": "conv5_3",
}


@pytest.mark.parametrize("name", PLACES)
def test_the_default_place(name):
  more = {"head": "compact"} if "vgg" in name else {}
  model = registry.get("models", name)(4, width=4, **more)
  image = jnp.zeros((1, 32, 32, 3))
  params = jax.eval_shape(model.init, jax.random.key(0), image)["params"]
  for under, tree in (("", params), ("backbone/", {"backbone": params})):
    tree = tree | ({"head": {}} if under else {})
    assert npd.place(tree, None).conv == under + PLACES[name]


def test_the_polarizer_is_a_linear_layer_and_a_norm():
  layer, stats = polarizer(3)
  tree = {
    "params": {"a": {"kernel": jnp.ones((1, 1, 3, 1))}},
    "batch_stats": {"b": {"mean": jnp.zeros(1)}},
  }
  new = npd.polarized(tree, pairs.Pair("a", "b"), layer, stats)
  x = np.asarray([1.0, -2.0, 3.0])
  y = x @ np.asarray(layer["kernel"]) - stats["mean"]
  y = layer["scale"] * y / np.sqrt(stats["var"] + 1e-5) + layer["bias"]
  kernel = new["params"]["a"]["kernel"].reshape(3)
  found = x @ np.asarray(kernel) - new["batch_stats"]["b"]["mean"]
  np.testing.assert_allclose(found, y.sum(), rtol=1e-5)


def test_a_polarizer_that_undoes_its_norm_changes_nothing(suspect):
  _, stats = polarizer(8)
  scale = jnp.sqrt(stats["var"] + 1e-5)
  layer = {"kernel": jnp.eye(8), "scale": scale, "bias": stats["mean"]}
  pair = pairs.Pair("conv3", "bn3")
  new = npd.polarized(suspect.variables, pair, layer, stats)
  chex.assert_trees_all_close(new, suspect.variables, rtol=1e-5, atol=1e-6)


def test_moments_are_those_of_what_the_convolution_reads(suspect):
  images = jnp.float32(suspect.clean.image) / 255
  shown = suspect.model.apply(suspect.variables, images, train=False)[1]
  read = np.asarray(shown["layer2"]).reshape(-1, 8)
  found = npd.moments(suspect.model, "conv3", suspect.variables, suspect.clean)
  assert sorted(found) == ["mean", "var"]
  np.testing.assert_allclose(found["mean"], read.mean(0), rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(found["var"], read.var(0), rtol=1e-3, atol=1e-6)


def test_any_convolution_with_its_own_norm_may_be_named():
  image = jnp.zeros((1, 8, 8, 3))
  model = registry.get("models", "preact_resnet18")(4, width=4)
  tree = jax.eval_shape(model.init, jax.random.key(0), image)
  found = npd.place(tree["params"], "layer2_0/conv1")
  assert found == pairs.Pair("layer2_0/conv1", "layer2_0/bn2")
  for name in ("conv1", "layer4_1/conv2", "nothing"):
    with pytest.raises(ValueError, match=rf"^npd\.layer is '{name}', but the"):
      npd.place(tree["params"], name)


def test_the_risk_by_hand():
  p = np.asarray([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])
  terms = {
    "beta_keep": -np.log(0.3) - np.log(0.6),  # of classes 1 and 0
    # Beside the labels 2 and 1 the likeliest are 1 and 0.
    "beta_wrong": -np.log(1.0001 - 0.3) - np.log(1.0001 - 0.6),
    "beta_target": -np.log(1.0001 - 0.2) - np.log(1.0001 - 0.1),
  }
  label, kept, target = map(jnp.asarray, ([2, 1], [1, 0], [0, 2]))
  none = dict.fromkeys(terms, 0.0)
  for name, value in terms.items():
    rules = npd.Rules(**(none | {name: 0.7}))
    logits = jnp.float32(np.log(p))
    found = npd.risk(logits, label, kept, target, rules)
    assert found == pytest.approx(0.35 * value, rel=1e-5), name
  sure = jnp.asarray([[0.0, 90.0, 0.0]])  # a wrong class for certain
  one = npd.Rules(**(none | {"beta_wrong": 1.0}))
  found = npd.risk(sure, *(jnp.array([0]),) * 3, one)
  assert found == pytest.approx(-np.log(1e-4), rel=1e-3)


def test_a_step_by_hand(suspect):
  model, start = suspect.model, suspect.variables
  pair = pairs.Pair("conv3", "bn3")
  batch = engine.take(suspect.clean, jnp.arange(16))
  tx = optax.sgd(0.1)
  stats = npd.moments(model, "conv3", start, suspect.clean)
  state = npd.begun(start, pair, tx, stats)
  layer = {"kernel": jnp.eye(8), "scale": jnp.ones(8), "bias": jnp.zeros(8)}
  chex.assert_trees_all_close(state.layer, layer)
  rules = npd.Rules(radius=1.0, beta_keep=0.5)
  step = jax.jit(npd.polarizing(model, pair, tx, lambda t: 0.3, rules))
  found, metrics = step(jax.random.key(0), state, batch)

  @jax.jit
  def moved(layer):
    def answer(x):
      variables = npd.polarized(start, pair, layer, stats)
      return model.apply(variables, x, train=False)[0]

    logits = answer(batch.image)
    target = adversarial.likeliest_wrong(logits, batch.label)
    how = {"radius": 1.0, "step_size": 0.1, "steps": 2, "enough": 0.6}
    seen = descent.targeted(answer, batch.image, target, **how)
    kept = logits.argmax(-1)

    def loss(layer):
      variables = npd.polarized(start, pair, layer, stats)
      clean, hit = (
        model.apply(variables, x, train=False)[0] for x in (batch.image, seen)
      )
      logp = jax.nn.log_softmax(clean)
      entropy = -logp[np.arange(16), batch.label].mean()
      return entropy + npd.risk(hit, batch.label, kept, target, rules)

    value, grads = jax.value_and_grad(loss)(layer)
    return value, jax.tree.map(lambda w, g: w - 0.1 * g, layer, grads)

  value, wanted = moved(layer)
  chex.assert_trees_all_close(found.layer, wanted, rtol=1e-3, atol=1e-5)
  assert metrics["loss"] == pytest.approx(float(value), rel=1e-4)
  assert metrics["lr"] == 0.3 and found.victim.step == 1
  assert float(jnp.abs(wanted["kernel"] - layer["kernel"]).max()) > 1e-4
  new = npd.polarized(start, pair, wanted, stats)
  chex.assert_trees_all_close(found.victim.variables, new, rtol=1e-3, atol=1e-5)
  chex.assert_trees_all_equal(found.suspect, start)


def test_what_is_asked_of_fit_and_what_changes(suspect, asked):
  defense = npd.make(batch_size=16, epochs=2, layer="conv2")
  found = defense.defend(jax.random.key(0), suspect, asked).variables
  assert asked.data is suspect.clean
  assert asked.how == {"epochs": 2, "batch_size": 16, "name": "npd"}
  assert asked.rates == pytest.approx([0.01, 0.01])
  same = jax.tree.map(
    lambda a, b: bool((a == b).all()), found, suspect.variables
  )
  changed = [
    jax.tree_util.keystr(path)
    for path, equal in jax.tree_util.tree_leaves_with_path(same)
    if not equal
  ]
  assert sorted(changed) == [
    "['batch_stats']['bn2']['mean']",
    "['params']['conv2']['kernel']",
  ]


def test_no_epochs_put_nothing_in(suspect):
  found = npd.make(epochs=0).defend(jax.random.key(0), suspect, loop.host_fit())
  chex.assert_trees_all_equal(found.variables, suspect.variables)


def test_a_transformer_is_refused(toy):
  model = registry.get("models", "vit_b_16")
  model = model(4, patch=4, width=8, head_width=4, depth=1)
  variables = learn.init_variables(jax.random.key(0), toy, model=model)
  with pytest.raises(ValueError, match=r"^no pairs are known in a model"):
    npd.place(variables["params"], None)


@pytest.mark.parametrize(
  ("argument", "value"),
  [("radius", 0), ("ascents", 0), ("beta_keep", -0.5), ("layer", 3)],
)
def test_bad_arguments_are_named(argument, value):
  with pytest.raises(
    ValueError, match=rf"npd\.{argument} is {value}, but must"
  ):
    npd.make(**{argument: value})
