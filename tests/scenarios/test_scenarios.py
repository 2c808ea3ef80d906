import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.methods import registry
from bdjax.models.parts import heads
from bdjax.runs import experiment
from bdjax.training import learn, loop
from bdjax.types import Access, Scenario

KEY = jax.random.key(5)
IMAGES = jnp.linspace(0, 1, 3 * 8 * 8 * 3).reshape(3, 8, 8, 3)


def made(name, **args) -> Scenario:
  return registry.get("scenarios", name)(**args)


@pytest.fixture(scope="module")
def victim(toy, task):
  variables = learn.init_variables(KEY, toy, model=task.model)
  return Access(variables, toy, toy, model=task.model, view=task.view)


def test_all_are_known():
  assert registry.names("scenarios") == ["encoder", "standalone", "transfer"]


def test_standalone_changes_nothing(victim, task):
  scenario = made("standalone")
  assert scenario.classes(10) == 10 and not scenario.elsewhere
  assert scenario.start(KEY, victim, 7) is victim
  assert scenario.look(KEY, victim, 7) is victim
  assert scenario.clean is experiment.clean_model


@pytest.mark.parametrize(("head", "layers"), [("linear", 1), ("mlp", 3)])
def test_transfer_puts_a_fresh_head_on_the_same_features(victim, head, layers):
  scenario = made("transfer", head=head)
  assert scenario.classes(10) == 10 and scenario.elsewhere
  assert scenario.look(KEY, victim, 7) is victim
  after = scenario.start(KEY, victim, 7)
  logits, features = after.model.apply(after.variables, IMAGES)
  _, before = victim.model.apply(victim.variables, IMAGES)
  assert logits.shape == (3, 7)
  np.testing.assert_array_equal(features["pooled"], before["pooled"])
  params = after.variables["params"]
  assert len(params["head"]) == layers
  assert "linear" not in params["backbone"]
  assert after.train is None and after.clean is victim.clean
  other = scenario.start(jax.random.key(6), victim, 7).variables["params"]
  kernel = params["head"]["linear"]["kernel"]
  assert (other["head"]["linear"]["kernel"] != kernel).any()


def test_encoder_is_trained_without_labels(task, toy):
  scenario = made("encoder", epochs=1, batch_size=16)
  assert scenario.classes(10) == 0 and scenario.elsewhere
  encoder = registry.get("models", "cnn")(0, width=4)
  task = task.replace(model=encoder)

  def clean(task):
    return scenario.clean(KEY, task, loop.scan_fit)

  found = jax.eval_shape(clean, task)
  wanted = jax.eval_shape(encoder.init, KEY, IMAGES)
  chex.assert_trees_all_equal_shapes_and_dtypes(found, wanted)


def test_encoder_is_looked_at_through_class_means(toy):
  scenario = made("encoder")
  encoder = registry.get("models", "cnn")(0, width=4)
  variables = learn.init_variables(KEY, toy, model=encoder)
  access = Access(variables, toy, model=encoder)
  seen = scenario.look(KEY, access, 4)
  images = toy.image / jnp.float32(255)
  pooled = np.asarray(encoder.apply(variables, images)[0])
  pooled = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
  label = np.asarray(toy.label)
  means = np.stack([pooled[label == c].mean(0) for c in range(4)])
  means /= np.linalg.norm(means, axis=1, keepdims=True)
  logits, _ = seen.model.apply(seen.variables, images)
  np.testing.assert_allclose(logits, pooled @ means.T, atol=1e-5)
  start = scenario.start(KEY, access, 4)
  assert isinstance(start.model.head, heads.MLP)
  assert set(start.variables["params"]["head"]) == {
    "linear1",
    "linear2",
    "linear",
  }
