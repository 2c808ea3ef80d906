import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.defenses.parts import pruning
from bdjax.training import engine, inference, learn, loop
from bdjax.types import Access, Dataset, Recipe


class Stub:
  """A model whose three channels vote for the class of a grey image.

  Class 1 wins where pixel * sum(scale) + sum(bias) is above 0.
  """

  def apply(self, variables, images, train=False, mutable=()):
    norm = variables["params"]["block"]["bn"]
    one = images.mean((1, 2, 3)) * norm["scale"].sum() + norm["bias"].sum()
    logits = jnp.stack([jnp.zeros_like(one), one], -1)
    return ((logits, {}), {}) if mutable else (logits, {})


STUB = {
  "params": {
    "block": {
      "bn": {
        "scale": jnp.array([4.0, 2.0, -1.0]),
        "bias": jnp.array([-3.0, 1.0, 0.5]),
      },
      "conv": {"kernel": jnp.ones((1, 1, 3, 3))},
    }
  },
  "batch_stats": {"block": {"bn": {"mean": jnp.ones(3), "var": jnp.ones(3)}}},
}
MASKS = {"block/bn": jnp.array([0.9, 0.3, 0.0])}


def grey(levels, labels):
  image = jnp.array(levels, jnp.uint8)[:, None, None, None]
  return Dataset(image, jnp.array(labels, jnp.int32))


def norm(variables):
  found = variables["params"]["block"]["bn"]
  return {k: v.tolist() for k, v in found.items()}


def test_norms_are_found_by_their_statistics_scale_and_bias(toy, model):
  variables = learn.init_variables(jax.random.key(0), toy, model=model)
  assert sorted(pruning.norms(variables)) == ["bn1", "bn2", "bn3"]
  assert pruning.norms(STUB) == ["block/bn"]
  shapes = {k: v.shape for k, v in pruning.ones(variables).items()}
  assert shapes == {"bn1": (4,), "bn2": (8,), "bn3": (16,)}


def test_a_model_without_them_is_refused():
  layer_norm = {"params": {"ln": {"scale": jnp.ones(2), "bias": jnp.ones(2)}}}
  with pytest.raises(ValueError, match=r"none of the layers \['ln'\]"):
    pruning.norms(layer_norm)


def test_factors_multiply_scale_and_bias():
  twice = {"block/bn": jnp.array([2.0, 0.0, 1.0])}
  got = pruning.scaled(STUB, MASKS, twice)
  np.testing.assert_allclose(norm(got)["scale"], [3.6, 0.6, 0.0], rtol=1e-6)
  assert norm(got)["bias"] == [-6.0, 0.0, 0.5]
  assert norm(pruning.scaled(STUB, twice))["bias"] == norm(STUB)["bias"]
  chex.assert_trees_all_equal(
    pruning.scaled(STUB, pruning.ones(STUB), pruning.ones(STUB)), STUB
  )


def test_cut_channels_are_those_up_to_the_threshold():
  which = pruning.below(MASKS, 0.3)
  assert which["block/bn"].tolist() == [False, True, True]
  assert pruning.count(which) == 2
  got = pruning.cut(STUB, which)
  assert norm(got) == {"scale": [4.0, 0.0, 0.0], "bias": [-3.0, 1.0, 0.5]}
  got = pruning.cut(STUB, which, bias=True)
  assert norm(got) == {"scale": [4.0, 0.0, 0.0], "bias": [-3.0, 0.0, 0.0]}
  assert pruning.count(pruning.below(MASKS, pruning.NONE)) == 0


def choice(drop):
  """Chooses among: all channels, without the third, the last two, none.

  With scales s the images of level 51 k / 255 get class 1 above s k / 5 = 1.5:
  from k = 2 with all (s = 5), k = 2 without the third (s = 6), k = 2 with the
  first alone (s = 4), and never without any.
  """
  held = grey([0, 51, 102, 153, 204], [0, 0, 1, 1, 1])
  masks = {"block/bn": jnp.array([0.52, 0.31, 0.0])}
  return pruning.choose(Stub(), STUB, masks, held, drop=drop)


def test_the_threshold_is_the_largest_that_keeps_the_accuracy():
  threshold, accuracy = choice(0.1)
  assert len(accuracy) == len(pruning.THRESHOLDS) == 19
  # .5 still keeps the first channel, .55 prunes all three: 2 of 5 are right.
  np.testing.assert_allclose(accuracy[:11], 1.0)
  np.testing.assert_allclose(accuracy[11:], 0.4, rtol=1e-6)
  np.testing.assert_allclose(threshold, 0.5)
  np.testing.assert_allclose(choice(0.61)[0], 0.9)


def test_nothing_is_pruned_where_every_threshold_costs_too_much():
  held = grey([51, 102], [0, 1])
  masks = {"block/bn": jnp.zeros(3)}
  got, memo = pruning.prune(Stub(), STUB, masks, held, threshold=0.5, drop=0.1)
  assert (memo["threshold"], memo["pruned"]) == (pruning.NONE, 0)
  assert memo["accuracy"].tolist() == [0.5] * 19
  chex.assert_trees_all_equal(got, STUB)


def test_a_fixed_threshold_needs_no_images():
  got, memo = pruning.prune(Stub(), STUB, MASKS, None, threshold=0.3, drop=0.1)
  assert memo.keys() == {"threshold", "pruned"}
  np.testing.assert_allclose(memo["threshold"], 0.3)
  assert memo["pruned"] == 2
  chex.assert_trees_all_equal(got, pruning.cut(STUB, pruning.below(MASKS, 0.3)))


def test_splits_are_disjoint_and_of_the_wanted_sizes():
  data = grey(range(50), range(50))
  rest, held = pruning.split(jax.random.key(0), data, "holdout")
  assert (rest.size, held.size) == (40, 10)
  both = [*rest.label.tolist(), *held.label.tolist()]
  assert sorted(both) == list(range(50))
  few, held = pruning.split(jax.random.key(0), data, "fixed", images=7)
  assert held is None and len(set(few.label.tolist())) == 7
  assert (few.image[:, 0, 0, 0] == few.label).all()
  whole, _ = pruning.split(jax.random.key(0), data, "fixed", images=99)
  assert whole.label.tolist() == list(range(50))


def trained(objective, epochs=1):
  return pruning.fit_masks(
    jax.random.key(0),
    Access(STUB, model=Stub()),
    grey([0, 51, 102, 153], [0, 0, 1, 1]),
    loop.scan_fit,
    Recipe(lr=0.1, momentum=0.5, epochs=epochs, batch_size=2),
    objective=lambda variables: objective,
    name="masks",
  )["block/bn"]


def test_masks_descend_with_momentum_within_their_bounds():
  def objective(key, masks, batch):
    # gradients 1, 9 and -1: one moves, one hits zero, one stays at one
    loss = jnp.sum(masks["block/bn"] * jnp.array([1.0, 9.0, -1.0]))
    return loss, jnp.zeros((2, 2))

  # two steps an epoch: 1 - .1 - .1 (1 + .5)
  np.testing.assert_allclose(trained(objective), [0.75, 0.0, 1.0], rtol=1e-6)
  assert trained(objective, epochs=0).tolist() == [1.0, 1.0, 1.0]


def test_masked_logits_are_the_scaled_models_in_training_mode(toy, model):
  variables = learn.init_variables(jax.random.key(0), toy, model=model)
  images = engine.take(toy, jnp.arange(16)).image
  ones = pruning.ones(variables)
  half = jax.tree.map(lambda one: 0.5 * one, ones)

  @jax.jit
  def both(variables):
    got = pruning.logits(model, variables, images, half, half)
    halved = pruning.scaled(variables, half, half)
    wanted, _ = model.apply(halved, images, train=True, mutable=["batch_stats"])
    return got, wanted[0], model.apply(halved, images, train=False)[0]

  got, wanted, running = both(variables)
  np.testing.assert_allclose(got, wanted, rtol=1e-5)
  assert np.abs(got - running).max() > 1e-3  # the batch's own statistics


def test_a_cut_channel_is_silent(toy, model):
  variables = learn.init_variables(jax.random.key(0), toy, model=model)
  which = {"bn3": jnp.arange(16) < 3}
  cut = pruning.cut(variables, which, bias=True)

  def pooled(batch):
    return model.apply(cut, batch.image)[1]["pooled"]

  said = jax.jit(lambda data: inference.each(data, pooled))(toy)
  assert (said[:, :3] == 0).all() and (said[:, 3:].max(0) > 0).any()
