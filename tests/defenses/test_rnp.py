import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.defenses import rnp
from bdjax.defenses.parts import pruning
from bdjax.methods import registry
from bdjax.training import engine, learn, loop
from bdjax.types import Access


def make(**args):
  small = {"batch_size": 16, "unlearn_epochs": 1, "select": "fixed"}
  return registry.get("defenses", "rnp")(**(small | args))


def batch(suspect):
  return engine.take(suspect.clean, jnp.arange(16))


def test_recovery_weighs_the_loss_of_the_unlearned_model(suspect):
  params = jax.tree.map(lambda w: 0.5 * w, suspect.variables["params"])
  unlearned = {**suspect.variables, "params": params}
  masks = pruning.ones(suspect.variables)
  images, label, _ = batch(suspect)

  @jax.jit
  def both(masks):
    objective = rnp.recovery(suspect.model, unlearned, 0.25)
    value, logits = objective(None, masks, batch(suspect))
    _, stats = learn.parted(suspect.variables)
    (wanted, _), _ = learn.forward(suspect.model, params, stats, images)
    loss = -jax.nn.log_softmax(wanted)[jnp.arange(16), label].mean()
    return value, 0.25 * loss, logits, wanted

  value, wanted, logits, theirs = both(masks)
  np.testing.assert_allclose(value, wanted, rtol=1e-5)
  np.testing.assert_allclose(logits, theirs, rtol=1e-4, atol=1e-6)


def run(suspect, **args):
  """Returns what was asked of fit, in turn, and the result for given masks.

  Recovery is made to end with masks 0, .1, .. in each batch norm.
  """
  asked = []

  def fit(key, step, state, data, **how):
    asked.append(how | {"data": data, "state": state})
    if how["name"] == "unlearn":
      return state._replace(
        params=jax.tree.map(jnp.zeros_like, state.params)
      ), {}
    masks = {k: jnp.arange(v.size) / 10 for k, v in state.masks.items()}
    return state._replace(masks=masks), {}

  return asked, make(**args).defend(jax.random.key(0), suspect, fit)


def test_the_original_model_is_pruned_by_the_recovered_masks(suspect):
  asked, found = run(suspect, threshold=0.25, unlearn_epochs=5, epochs=7)
  stages = [(how["name"], how["epochs"]) for how in asked]
  assert stages == [("unlearn", 5), ("recover", 7)]
  wanted = jax.tree.map(jnp.copy, suspect.variables)
  for name in ("bn1", "bn2", "bn3"):
    norm = wanted["params"][name]
    norm["scale"] = norm["scale"].at[:3].set(0)
  chex.assert_trees_all_equal(found.variables, wanted)
  assert found.memo["pruned"] == 9
  np.testing.assert_allclose(found.memo["threshold"], 0.25)


def test_both_stages_use_the_same_few_images(suspect):
  asked, _ = run(suspect, images=20)
  chex.assert_trees_all_equal(asked[0]["data"], asked[1]["data"])
  assert asked[0]["data"].size == 20
  asked, found = run(suspect, images=60, select="holdout")
  assert asked[0]["data"].size == 51  # 13 of 64 are held out
  assert found.memo["accuracy"].shape == (19,)


def test_no_epochs_is_the_identity(suspect):
  defense = make(epochs=0, unlearn_epochs=0)
  found = defense.defend(jax.random.key(0), suspect, loop.host_fit())
  chex.assert_trees_all_equal(found.variables, suspect.variables)
  assert found.memo["pruned"] == 0 and np.isnan(found.memo["unlearned"])


def test_a_threshold_that_cuts_untrained_masks_is_refused():
  for value in (1.0, 1, -0.1):
    with pytest.raises(ValueError, match=rf"rnp\.threshold is {value}, but"):
      make(threshold=value)
  make(threshold=0)


def test_a_model_is_unlearned_to_chance_and_no_further(toy, model, suspect):
  recipe = {"epochs": 8, "batch_size": 16, "lr": 0.1, "schedule": "constant"}
  tuned = registry.get("defenses", "ft")(**recipe)
  found = tuned.defend(jax.random.key(0), suspect, loop.host_fit())
  skilled = Access(found.variables, toy, model=model)
  asked = {}

  def fit(key, step, state, data, **how):
    if how["name"] != "unlearn":
      return state, {}
    state, metrics = loop.host_fit()(key, step, state, data, **how)
    asked.update(metrics)
    return state, metrics

  defense = make(unlearn_epochs=12, unlearn_lr=0.05, stop=0.3)
  memo = defense.defend(jax.random.key(1), skilled, fit).memo
  assert asked["accuracy"][0] > 0.8 > 0.5 > asked["accuracy"][-1]
  assert memo["unlearned"] <= 0.3
  assert asked["loss"][-1] > asked["loss"][0]
