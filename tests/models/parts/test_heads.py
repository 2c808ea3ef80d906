import chex
import jax
import jax.numpy as jnp
import numpy as np

from bdjax.methods import registry
from bdjax.models.parts import heads

IMAGES = jnp.linspace(0, 1, 2 * 8 * 8 * 3).reshape(2, 8, 8, 3)


def sizes(params):
  return sum(leaf.size for leaf in jax.tree.leaves(params))


def made(head, arch="cnn"):
  encoder = registry.get("models", arch)(0, width=4)
  model = heads.Headed(encoder, head)
  return model, jax.jit(model.init)(jax.random.key(0), IMAGES)


def test_parameters_lie_under_backbone_and_head():
  model, variables = made(heads.Linear(5))
  assert set(variables["params"]) == {"backbone", "head"}
  assert set(variables["batch_stats"]) == {"backbone"}
  assert sizes(variables["params"]["head"]) == 16 * 5 + 5
  logits, features = model.apply(variables, IMAGES)
  kernel = variables["params"]["head"]["linear"]
  wanted = features["pooled"] @ kernel["kernel"] + kernel["bias"][None]
  np.testing.assert_allclose(logits, wanted, rtol=1e-6)


def test_pooled_features_lead_to_the_logits_that_the_model_gives():
  plain = registry.get("models", "cnn")(5, width=4)
  params = jax.jit(plain.init)(jax.random.key(0), IMAGES)
  for (model, variables), path in (
    ((plain, params), ("linear", "kernel")),
    (made(heads.Linear(5)), ("head", "linear", "kernel")),
    (made(heads.MLP(5)), ("head", "linear1", "kernel")),
  ):
    logits, features = model.apply(variables, IMAGES)
    got = heads.answer(model, variables["params"], features["pooled"])
    np.testing.assert_allclose(got, logits, rtol=1e-6)
    assert heads.reader(variables["params"]) == path
  assert heads.reader({"last": params["params"]["linear"]}) is None


def test_counts_of_the_papers_heads():
  features = jnp.zeros((2, 512))
  mlp = heads.MLP(10).init(jax.random.key(0), features, False)
  assert sizes(mlp) == 512 * 512 + 512 + 512 * 256 + 256 + 256 * 10 + 10
  head = heads.Projection().init(jax.random.key(0), features, False)
  assert sizes(head["params"]) == 512 * 512 + 2 * 512 + 512 * 128 + 128


def test_dropout_needs_training_and_a_key():
  mlp, x = heads.MLP(3), jnp.ones((4, 8))
  variables = mlp.init(jax.random.key(0), x, False)
  still = mlp.apply(variables, x, False)
  np.testing.assert_array_equal(mlp.apply(variables, x, True), still)
  rngs = {"dropout": jax.random.key(1)}
  np.testing.assert_array_equal(
    mlp.apply(variables, x, False, rngs=rngs), still
  )
  assert (mlp.apply(variables, x, True, rngs=rngs) != still).any()


def test_a_frozen_backbone_is_a_constant():
  model, variables = made(heads.Linear(5))
  frozen = model.clone(frozen=True)

  def loss(params):
    everything = {**variables, "params": params}
    (logits, _), new = frozen.apply(
      everything, IMAGES, train=True, mutable=["batch_stats"]
    )
    return (logits**2).sum(), new

  grads, new = jax.grad(loss, has_aux=True)(variables["params"])
  assert not any(leaf.any() for leaf in jax.tree.leaves(grads["backbone"]))
  assert grads["head"]["linear"]["kernel"].any()
  chex.assert_trees_all_equal(new["batch_stats"], variables["batch_stats"])


def test_parts_come_apart_and_together():
  _, variables = made(heads.Linear(5))
  encoder = heads.backbone(variables)
  head = {"params": variables["params"]["head"]}
  chex.assert_trees_all_equal(heads.on(encoder, head), variables)
  last = {"linear": {"kernel": jnp.zeros((16, 7))}}
  encoder = encoder | {"params": encoder["params"] | last}
  chex.assert_trees_all_equal(heads.on(encoder, head), variables)


def test_prototypes_are_cosines():
  x = jnp.array([[3.0, 4.0], [0.0, 0.0]])
  kernel = {"params": {"kernel": jnp.array([[2.0, 0.0], [0.0, 5.0]])}}
  found = heads.Prototypes(2).apply(kernel, x, False)
  np.testing.assert_allclose(found, [[0.6, 0.8], [0, 0]], rtol=1e-6)
