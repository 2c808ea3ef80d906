import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bdjax.data import augment
from bdjax.training import learn, loop, regimes, sequential
from bdjax.types import Batch, Dataset, Recipe

LOG4 = float(np.log(4))


class Line(nn.Module):
  """Logits x w for images of one pixel x, with two classes."""

  @nn.compact
  def __call__(self, images, train=True):
    w = self.param("w", nn.initializers.zeros, (2,))
    return images.reshape(-1, 1) * w[None], {}


def at(*w):
  return {"params": {"w": jnp.array(w, jnp.float32)}}


def pixels(*bytes, label=0):
  image = jnp.array(bytes, jnp.uint8).reshape(-1, 1, 1, 1)
  return Dataset(image, jnp.full(len(bytes), label, jnp.int32))


def key():
  return jax.random.key(0)


def test_sam_takes_the_gradient_where_the_loss_is_worst():
  """Of |w|^2 / 2 at (3, 4), rho 1: the gradient at (3.6, 4.8)."""
  tx = sequential.Second(rho=1.0).wrap(optax.sgd(0.5), 1)
  params = jnp.array([3.0, 4.0])
  updates, _ = tx.update(
    params, tx.init(params), params, grad_fn=lambda w, i: w, stats={}
  )
  np.testing.assert_allclose(updates, [-1.8, -2.4], rtol=1e-6)


def test_the_distance_weighs_squares_by_the_information():
  trees = [
    {"a": jnp.array(a), "b": jnp.array(b)}
    for a, b in (([1.0, 2.0], 3.0), ([2.0, 0.5], 10.0), ([0.0, 0.0], 2.0))
  ]
  assert float(sequential.distance(*trees)) == 2 * 1 + 0.5 * 4 + 10 * 1


def test_information_is_the_mean_square_of_each_images_own_gradient():
  """With w = 0, p = 1/2 and d log p / dw = x (1/2, -1/2): F = p x^2 / 4."""
  data = pixels(255, 0, 51, 0)
  args = data, loop.scan_fit, Line(), 2, augment.identity
  got = sequential.information(key(), at(0, 0), *args)
  wanted = 0.125 * (1 + 0.04) / 4
  np.testing.assert_allclose(got["w"], [wanted] * 2, rtol=1e-6)
  args = pixels(255, 255), loop.scan_fit, Line(), 2, augment.identity
  got = sequential.information(key(), at(LOG4, 0), *args)  # p = .8
  np.testing.assert_allclose(got["w"], [0.8 * 0.04] * 2, rtol=1e-6)


def test_anchoring_adds_the_distance_of_the_answers():
  """p = (.5, .5) and p* = (.8, .2): .3^2 + .3^2."""
  lr = optax.constant_schedule(1.0)
  step = sequential.anchoring(Line(), optax.sgd(1.0), 2.0, lr=lr)
  start = learn.begun(at(0, 0), optax.sgd(1.0))
  state = sequential.Anchored(start, at(LOG4, 0))
  batch = Batch(jnp.ones((1, 1, 1, 1)), jnp.array([1]), jnp.array([0]))
  after, metrics = step(key(), state, batch)
  assert float(metrics["loss"]) == pytest.approx(np.log(2) + 2 * 0.18)
  # d/dw: CE (.5, -.5); the distance 2 (p - p*) . dp/dw = (-.3, .3).
  w = after.victim.variables["params"]["w"]
  np.testing.assert_allclose(w, [-0.5 + 0.6, 0.5 - 0.6], rtol=1e-5)
  chex.assert_trees_all_equal(after.anchor, at(LOG4, 0))


def second(fit=loop.scan_fit, **how):
  """Returns w after two steps of stage 2 at rate 1, from (log 4, 0)."""
  stage = sequential.Second(lr_second=1.0, **how)
  recipe = Recipe(epochs=2, batch_size=1, momentum=0.0, weight_decay=0.0)
  after = stage.train(
    *(key(), at(LOG4, 0), fit, (pixels(255), pixels(255, label=1))),
    model=Line(),
    recipe=recipe,
    views=(augment.identity,),
    trigger=None,
  )
  return np.asarray(after["params"]["w"])


def entropy_slope(w):
  p = 1 / (1 + np.exp(w[1] - w[0]))
  return np.array([p, -p])  # of class 1


def test_the_second_stage_is_pulled_back_to_the_first():
  naive = np.array([LOG4, 0]) - entropy_slope([LOG4, 0])
  pulled = naive - entropy_slope(naive)
  np.testing.assert_allclose(second(continual="naive"), pulled, rtol=1e-5)
  fisher = 0.8 * 0.04  # of both weights, above
  pulled = pulled - 2 * 3.0 * fisher * (naive - [LOG4, 0])
  np.testing.assert_allclose(second(weight=3.0), pulled, rtol=1e-5)


@pytest.mark.parametrize("continual", ["ewc", "anchor"])
def test_without_weight_all_ways_are_naive(continual):
  got, plain = (
    second(continual=continual, weight=0.0),
    second(continual="naive"),
  )
  np.testing.assert_allclose(got, plain, rtol=1e-6)


@pytest.mark.parametrize("continual", ["ewc", "anchor"])
def test_epochs_on_the_hosts_time_take_the_same_steps(continual):
  one, two = (
    second(fit=fit, continual=continual)
    for fit in (loop.scan_fit, loop.host_fit())
  )
  np.testing.assert_allclose(one, two, rtol=1e-6)


def test_a_flat_second_stage_is_another():
  first = second(continual="naive")
  assert np.abs(second(continual="naive", flat="both") - first).max() > 1e-3


def test_the_second_stage_has_images_for_itself_that_are_no_poisons(toy):
  free = jnp.arange(toy.size) >= 16
  one, two = sequential.Second(held=0.25).split(key(), toy, free)
  assert int(two.keep.sum()) == 16 and not (two.keep & ~free).any()
  assert (one.keep == ~two.keep).all()
  assert one.image is toy.image
  with pytest.raises(ValueError, match="sbl.held is 0.001, which of 64 images"):
    sequential.Second(held=0.001).split(key(), toy, free)


def test_a_share_is_rounded_as_it_is_drawn():
  """In double precision float32's .0005 of 1,000 is a little above a half."""
  data, free = pixels(*[0] * 1000), jnp.ones(1000, bool)
  with pytest.raises(ValueError, match="sbl.held is 0.0005, which of 1000"):
    sequential.Second(held=jnp.float32(0.0005)).split(key(), data, free)


def test_the_regime_runs_its_stages_in_order(toy, model):
  calls = []

  def fit(key, step, state, data, *, name, epochs, params=None, **how):
    calls.append((name, epochs, int(data.keep.sum()), params is not None))
    return loop.scan_fit(key, step, state, data, epochs=epochs, **how)

  data = sequential.Second().split(key(), toy, jnp.ones(toy.size, bool))
  recipe = Recipe(epochs=4, batch_size=32)
  how = {"model": model, "recipe": recipe, "trigger": {"pattern": jnp.ones(3)}}
  regime = regimes.sbl(length=0.5)
  learn.train_classifier(key(), data, fit, regime=regime, **how)
  assert calls == [
    ("train", 4, 58, True),
    ("fisher", 1, 58, False),
    ("second", 2, 6, True),
  ]
