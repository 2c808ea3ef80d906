import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.defenses import anp
from bdjax.methods import registry
from bdjax.training import loop
from bdjax.types import Batch

SIGMOID = jax.nn.sigmoid
MASKS = {"n": jnp.array([0.5])}
BATCH = Batch(jnp.array([[2.0]]), jnp.array([1]), jnp.array([0]))


def make(**args):
  small = {"batch_size": 16, "iterations": 4, "select": "fixed"}
  return registry.get("defenses", "anp")(**(small | args))


def said(images, scale, bias):
  """Returns logits (0, scale x + bias): one channel, with scale and bias 1."""
  bias = jnp.ones(1) if bias is None else bias["n"]
  one = images[:, 0] * scale["n"] + bias
  return jnp.stack([jnp.zeros_like(one), one], -1)


def loss(**args):
  how = {"eps": 0.4, "steps": 1, "project": True, "alpha": 0.2} | args
  return anp.objective(said, **how)(jax.random.key(0), MASKS, BATCH)[0]


def cost(scale, bias):
  """Returns the cross-entropy of class 1 at x = 2."""
  return -np.log(SIGMOID(2 * scale + bias))


def test_the_loss_weighs_the_worst_perturbation_within_its_bound():
  # Less scale and less bias raise the loss: the worst corner is known.
  natural, worst = cost(0.5, 1.0), cost(0.5 - 0.4, 1 - 0.4)
  np.testing.assert_allclose(loss(alpha=1.0), natural, rtol=1e-5)
  np.testing.assert_allclose(loss(eps=0.0), natural, rtol=1e-5)
  robust = loss(alpha=0.0)
  assert natural < robust <= worst * (1 + 1e-5)
  mixed = 0.2 * natural + 0.8 * robust
  np.testing.assert_allclose(loss(), mixed, rtol=1e-5)


def test_without_projection_the_step_is_taken_whole():
  uniform = jax.random.uniform
  starts = []

  def watched(*args):
    starts.append(uniform(*args))
    return starts[-1]

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(jax.random, "uniform", watched)
    free = loss(alpha=0.0, project=False)
    kept = loss(alpha=0.0)
  xi, delta = (float(start[0]) for start in starts[:2])  # in order of names
  assert max(abs(delta), abs(xi)) <= 0.4
  wanted = cost(0.5 + delta - 0.4, 1 + xi - 0.4)
  np.testing.assert_allclose(free, wanted, rtol=1e-5)
  low = [max(-0.4, value - 0.4) for value in (delta, xi)]
  np.testing.assert_allclose(kept, cost(0.5 + low[0], 1 + low[1]), rtol=1e-5)


def test_steps_share_the_bound():
  fine = loss(alpha=0.0, steps=4, project=False)
  np.testing.assert_allclose(fine, loss(alpha=0.0, project=False), rtol=1e-5)


def test_the_perturbation_is_no_way_for_the_gradient():
  def curve(mask):
    how = {"eps": 0.4, "steps": 1, "project": True, "alpha": 0.0}
    found = anp.objective(said, **how)(jax.random.key(0), {"n": mask}, BATCH)
    return found[0]

  value, grad = jax.value_and_grad(curve)(MASKS["n"])
  # d/dm of -log sigmoid(2 m + ...) = -2 (1 - sigmoid), by the loss's value
  np.testing.assert_allclose(grad, -2 * (1 - np.exp(-value)), rtol=1e-5)


def asked_of(suspect, **args):
  """Returns what fit was asked, without running it."""
  asked = {}

  def fit(key, step, state, data, **how):
    asked.update(how, data=data)
    return state, {}

  found = make(**args).defend(jax.random.key(0), suspect, fit)
  return asked, found


def test_iterations_become_whole_epochs(suspect):
  asked, _ = asked_of(suspect, iterations=9)  # 64 images: 4 steps an epoch
  assert (asked["epochs"], asked["batch_size"]) == (3, 16)
  assert asked["data"].size == 64
  asked, _ = asked_of(suspect, select="holdout", iterations=9)
  assert asked["data"].size == 51  # 13 are held out; 4 steps still


def test_no_iteration_prunes_nothing(suspect):
  _, found = asked_of(suspect, iterations=0, select="holdout")
  chex.assert_trees_all_equal(found.variables, suspect.variables)
  assert found.memo["pruned"] == 0 and found.memo["accuracy"].shape == (19,)
  np.testing.assert_allclose(found.memo["threshold"], 0.9)


def test_no_iteration_prunes_nothing_at_any_threshold(suspect):
  for threshold in (0.0, 0.999):
    _, found = asked_of(suspect, iterations=0, threshold=threshold)
    assert found.memo["pruned"] == 0
  with pytest.raises(
    ValueError, match=r"anp\.threshold is 1.0, .* at least 0 and below 1\.$"
  ):
    make(threshold=1.0)


def test_scales_of_low_masks_go_and_nothing_else(suspect):
  defense = make(lr=0.5, threshold=0.95, iterations=12)
  found = defense.defend(jax.random.key(0), suspect, loop.host_fit())
  before, after = suspect.variables["params"], found.variables["params"]
  zeros = 0
  for name in ("bn1", "bn2", "bn3"):
    scale = after[name].pop("scale")
    assert ((scale == 0) | (scale == before[name]["scale"])).all()
    zeros += int((scale == 0).sum())
  assert 0 < zeros == found.memo["pruned"] < 28
  for name in ("bn1", "bn2", "bn3"):
    after[name]["scale"] = before[name]["scale"]
  chex.assert_trees_all_equal(found.variables, suspect.variables)
