"""The universal perturbation on top of a trigger, and what it is held to."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.methods import registry
from bdjax.sequela import reactivation
from bdjax.training import loop
from bdjax.types import Batch

CLASSES, SIDE = 3, 2


class Linear(nn.Module):
  """A linear classifier, and a layer beside it."""

  @nn.compact
  def __call__(self, x, train=False):
    flat = x.reshape(x.shape[0], -1)
    logits = nn.Dense(CLASSES, use_bias=False, name="linear")(flat)
    return logits, {"layer1": nn.Dense(4, use_bias=False, name="layer")(x)}


def weights(seed):
  rng = np.random.default_rng(seed)
  shapes = {"linear": (SIDE * SIDE * 3, CLASSES), "layer": (3, 4)}
  kernels = {k: rng.normal(size=shape) for k, shape in shapes.items()}
  return {
    "params": {
      k: {"kernel": jnp.asarray(x, jnp.float32)} for k, x in kernels.items()
    }
  }


@pytest.fixture(scope="module")
def remains(lured):
  return lured(Linear(), weights, classes=CLASSES, side=SIDE)


def test_projection_onto_the_ball():
  push = jnp.array([[[3.0, -0.5, 0.0]], [[0.0, 4.0, 0.25]]])
  found = reactivation.projected(push, 0.5, "linf")
  np.testing.assert_array_equal(found, [[[0.5, -0.5, 0]], [[0, 0.5, 0.25]]])
  push = jnp.array([[[3.0, 0.0, 0.0]], [[0.0, 4.0, 0.0]]])  # of length 5
  found = reactivation.projected(push, 1.0, "l2")
  np.testing.assert_allclose(found, push / 5, rtol=1e-6)
  np.testing.assert_array_equal(reactivation.projected(push, 6.0, "l2"), push)


def test_the_loss_by_hand():
  image = jnp.full((2, SIDE, SIDE, 3), 0.5)
  push = jnp.zeros((SIDE, SIDE, 3))
  kernel = np.zeros((12, CLASSES), np.float32)
  kernel[0] = [0.0, 2 * np.log(2), 2 * np.log(5)]  # odds 1 : 2 : 5 at .5
  variables = weights(0)
  variables["params"]["linear"]["kernel"] = jnp.asarray(kernel)
  found = reactivation.loss(Linear(), variables, image, jnp.array([0, 2]), push)
  # Target 0: p .125, likeliest other .625. Target 2: .625 and .25.
  one = -np.log(0.125) - np.log(1.0001 - 0.625)
  two = -np.log(0.625) - np.log(1.0001 - 0.25)
  assert found == pytest.approx((one + two) / 2, rel=1e-5)
  # Cut to [0, 1]: any push beyond it is one to the edge.
  edge, far = (
    reactivation.loss(Linear(), variables, image, jnp.array([0, 2]), push + by)
    for by in (0.5, 7.0)
  )
  assert edge == far != found


@pytest.mark.parametrize(("rounds", "bound"), [(1, 0.3), (1, 0.01), (3, 0.3)])
def test_a_step_goes_down_the_slope_and_stays_in_the_ball(rounds, bound):
  rng = np.random.default_rng(4)
  image = jnp.asarray(rng.uniform(0.4, 0.6, (5, SIDE, SIDE, 3)), jnp.float32)
  batch = Batch(image, jnp.array([0, 1, 2, 0, 1]), jnp.arange(5))
  variables, start = weights(5), jnp.full((SIDE, SIDE, 3), 0.005)
  step = reactivation.searching(
    *(Linear(), variables),
    **{"rate": 0.05, "rounds": rounds, "bound": bound, "norm": "linf"},
  )
  push, metrics = jax.jit(step)(jax.random.key(0), start, batch)
  kernel = np.asarray(variables["params"]["linear"]["kernel"], np.float64)
  flat = np.asarray(image, np.float64).reshape(5, -1)
  hand = np.full(12, 0.005)
  for _ in range(rounds):
    hand, value = by_hand(hand, flat, kernel, np.asarray(batch.label))
    hand = np.clip(hand, -bound, bound)
  np.testing.assert_allclose(push.ravel(), hand, atol=1e-6)
  assert metrics["loss"] == pytest.approx(value, rel=1e-5)


def by_hand(push, x, kernel, label, rate=0.05):
  """Returns one step of gradient descent, and the loss before it."""
  z = (x + push) @ kernel
  p = np.exp(z - z.max(1, keepdims=True))
  p /= p.sum(1, keepdims=True)
  rows, eye = np.arange(len(x)), np.eye(CLASSES)
  rival = np.where(eye[label] > 0, -np.inf, z).argmax(1)
  q = p[rows, rival]
  loss = (-np.log(p[rows, label]) - np.log(1.0001 - q)).mean()
  down = p - eye[label]
  down += (q / (1.0001 - q))[:, None] * (eye[rival] - p)
  return push - rate * (down @ kernel.T).mean(0), loss


def asked(remains, fit=None, **args):
  made = registry.get("sequela", "reactivation")(
    **{"images": 12, "batch_size": 6, "epochs": 3, "rounds": 2} | args
  )
  assert made.lures == 12
  return made.examine(
    jax.random.key(0), remains, fit or loop.host_fit()
  ).numbers


def test_what_is_found(remains):
  found = asked(remains, bound=0.2)
  assert set(found) == {
    *("asr_before", "reactivated", "untriggered", "universal", "on_clean"),
    *("bec", "cka"),
  }
  assert all(0 <= x <= 1 for x in found.values())
  assert found["reactivated"] > found["asr_before"]
  none = asked(remains, bound=1e-6)
  assert none["reactivated"] == none["asr_before"] == found["asr_before"]
  itself = asked(remains.replace(variables=remains.planted))
  assert itself["bec"] == pytest.approx(1, abs=1e-5)
  clean = asked(remains.replace(variables=remains.unplanted))
  assert clean["bec"] == 0 and clean["reactivated"] == clean["on_clean"]


def test_both_searches_get_the_same_images_with_and_without_trigger(remains):
  seen = []

  def fit(key, step, state, data, *, epochs, batch_size, name):
    seen.append((name, state, data, epochs, batch_size))
    return state, {}

  asked(remains, fit, bound=0.2)
  (one, start, hit, *how), (other, again, plain, *_) = seen
  assert (one, other, how) == ("reactivation", "universal", [3, 6])
  assert (hit.image[:, 0, 0] == 200).all()
  chex.assert_trees_all_equal(hit.image[:, 1], plain.image[:, 1])
  assert not (plain.image[:, 0, 0] == 200).all()
  assert (hit.label == 0).all() and (plain.label == 0).all()
  assert jnp.abs(start).max() <= 0.2 < 2 * jnp.abs(start).max()
  assert (start != again).any()


def test_many_models_are_attacked_in_one_program(remains):
  models = [weights(seed) for seed in (1, 7)]

  def one(variables):
    return asked(remains.replace(variables=variables), loop.scan_fit, bound=0.2)

  stacked = jax.tree.map(lambda *x: jnp.stack(x), *models)
  together = jax.jit(jax.vmap(one))(stacked)
  for i, variables in enumerate(models):
    alone = asked(remains.replace(variables=variables), bound=0.2)
    for name, value in alone.items():
      np.testing.assert_allclose(together[name][i], value, atol=1e-5)


def test_the_euclidean_preset(remains):
  made = registry.presets("sequela", "reactivation")["l2"]
  assert made == {"norm": "l2", "bound": 3.0, "epochs": 100, "rounds": 100}
  found = asked(remains, norm="l2", bound=0.4)
  assert found["reactivated"] >= found["asr_before"]
