import jax
import jax.numpy as jnp
import pytest

from bdjax.attacks.parts.goals import Goal
from bdjax.runs import evaluate
from bdjax.training import metrics
from bdjax.types import Attack


def key():
  return jax.random.key(0)


def bright_corner(key, images, params):
  return images.at[:, 0, 0].set(params["value"])


ATTACK = Attack(bright_corner, Goal(2), plant=None)


def oracle(label_of, fooled):
  """Answers rightly, and class 2 on `fooled` of the triggered images."""

  def predict(key, images):
    right = jax.nn.one_hot(label_of(images), 4)
    hit = images[:, 0, 0, 0] > 0.99
    return jnp.where((hit & fooled)[:, None], jax.nn.one_hot(2, 4), right)

  return predict


def column(images):
  return images[:, 4, ::2, 0].argmax(-1)


@pytest.mark.parametrize("batch", [16, 24, 100])
@pytest.mark.parametrize("fooled", [False, True])
def test_oracle_is_scored_exactly(toy, batch, fooled):
  count = evaluate.count(
    key(),
    toy,
    {"value": 1.0},
    attack=ATTACK,
    predict=oracle(column, fooled),
    batch_size=batch,
  )
  count = {k: int(v) for k, v in count.items()}
  assert count["images"] == 64 and count["triggered"] == 48
  rates = metrics.rates(count)
  assert rates["ca"] == 1
  assert rates["asr"] == (1.0 if fooled else 0.0)
  assert rates["asr_incl"] == (1.0 if fooled else 0.25)
  assert rates["asr"] + rates["ra"] == 1


def test_triggered_images_have_eight_bits():
  images = jnp.full((1, 2, 2, 3), 0.5)
  got = evaluate.triggered(key(), images, {"value": 1.7}, ATTACK)
  assert float(got.max()) == 1.0
  assert float(jnp.abs(got * 255 - jnp.round(got * 255)).max()) < 1e-4


@pytest.mark.parametrize("batch", [24, 64])
def test_suspicions_are_those_of_each_image(toy, batch):
  found = evaluate.suspicions(
    key(),
    toy,
    {"value": 1.0},
    attack=ATTACK,
    suspect=lambda key, images: images[:, 0, 0, 0],
    batch_size=batch,
  )
  corner = toy.image[:, 0, 0, 0].astype(jnp.float32) / 255
  assert jnp.array_equal(found["clean"], corner)
  assert (found["hit"] == 1).all() and found["hit"].shape == (64,)
  assert jnp.array_equal(found["other"], toy.label != 2)
