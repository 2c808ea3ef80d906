import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.attacks import upgd
from bdjax.training import engine
from bdjax.types import POISON

ARGS = {"rounds": 8, "batch_size": 16, "num_classes": 4, "rate": 0.1}
EPS = np.float32(8 / 255)
STEP = 8 / 255 / 5


class Linear(nn.Module):
  """Logits that are linear in the pixels."""

  @nn.compact
  def __call__(self, x, train=False):
    return nn.Dense(4, name="linear", use_bias=False)(x.reshape(len(x), -1)), {}


@pytest.fixture(scope="module")
def weights():
  return np.random.default_rng(0).normal(size=(192, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def known(task, toy, weights):
  """Returns a task whose clean classifier is linear, of images not too dark."""
  variables = {"params": {"linear": {"kernel": jnp.asarray(weights)}}}
  train = toy.replace(image=jnp.clip(toy.image, 60, 220))
  return task.replace(model=Linear(), train=train, clean=lambda fit: variables)


def test_a_round_moves_each_pixel_against_the_slope(planted, known, weights):
  """All images are one batch, so their order does not matter."""
  x = np.asarray(known.train.image).reshape(64, 192) / np.float32(255)
  delta = np.zeros(192)
  for _ in range(3):
    z = (x + delta) @ weights
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    slope = (p - np.eye(4)[2]).mean(0) @ weights.T
    delta = np.clip(delta - STEP * np.sign(slope), -EPS, EPS)
  _, backdoor = planted(known, target=2, rounds=3, batch_size=64)
  got = np.asarray(backdoor.params["delta"]).reshape(192)
  np.testing.assert_allclose(got, delta, atol=1e-6)


def test_the_noise_keeps_its_bound_exactly_and_reaches_it(planted, known):
  _, backdoor = planted(known)
  assert np.abs(np.asarray(backdoor.params["delta"])).max() == EPS


def test_a_pass_is_the_order_of_its_own_key(toy):
  rows = np.asarray(upgd.passes(jax.random.key(3), toy, 9, 16))
  for i in range(2):
    order = engine.order(jax.random.fold_in(jax.random.key(3), i), toy, 64)
    np.testing.assert_array_equal(rows[4 * i : 4 * i + 4].ravel(), order)


def test_each_pass_sees_every_image_once_in_an_order_anew(toy):
  rows = np.asarray(upgd.passes(jax.random.key(0), toy, 7, 16))
  assert rows.shape == (7, 16)
  first, second = rows[:4].ravel(), rows[4:].ravel()
  np.testing.assert_array_equal(np.sort(first), np.arange(64))
  assert len(set(second)) == 48
  assert (first[:48] != second).any()


def test_poisons_are_of_the_target_class_keep_label_and_bound(planted, known):
  _, backdoor = planted(known, target=2)
  hit = np.asarray(backdoor.role) == POISON
  assert hit.sum() == 6  # round(0.1 * 64)
  label = np.asarray(known.train.label)
  np.testing.assert_array_equal(backdoor.train.label, label)
  assert (label[hit] == 2).all()
  before = np.asarray(known.train.image, np.int32)
  moved = np.abs(np.asarray(backdoor.train.image, np.int32) - before)
  assert moved[hit].max() == 8
  assert not moved[~hit].any()
