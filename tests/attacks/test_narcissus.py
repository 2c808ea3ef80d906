import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bdjax.training import learn
from bdjax.types import POISON

ARGS = {"rounds": 40, "batch_size": 8, "num_classes": 4, "rate": 0.1}
EPS = np.float32(16 / 255)


@pytest.fixture(scope="module")
def task(task, small):
  return task.replace(model=small())


def test_the_noise_keeps_its_bound_exactly_and_reaches_it(planted):
  _, backdoor = planted(lr=0.1)
  assert np.abs(np.asarray(backdoor.params["delta"])).max() == EPS


def test_poisons_are_of_the_target_class_keep_label_and_bound(planted, task):
  _, backdoor = planted(lr=0.1, target=2)
  hit = np.asarray(backdoor.role) == POISON
  assert hit.sum() == 6  # round(0.1 * 64)
  np.testing.assert_array_equal(backdoor.train.label, task.train.label)
  assert (np.asarray(task.train.label)[hit] == 2).all()
  before = np.asarray(task.train.image, np.int32)
  moved = np.abs(np.asarray(backdoor.train.image, np.int32) - before)
  assert moved[hit].max() == 16
  assert not moved[~hit].any()


def test_the_noise_is_magnified_and_clipped_at_test_time_only(planted, task):
  attack, backdoor = planted(magnify=2.0)
  delta = np.asarray(backdoor.params["delta"])
  images = jnp.array([0.02, 0.5])[:, None, None, None]
  images = jnp.broadcast_to(images, (2, 8, 8, 3))
  got = attack.trigger(jax.random.key(1), images, backdoor.params)
  wanted = np.clip(np.asarray(images) + 2 * delta, 0, 1)
  np.testing.assert_allclose(got, wanted, atol=1e-6)
  hit = np.asarray(backdoor.role) == POISON
  x = np.asarray(task.train.image)[hit] / np.float32(255)
  np.testing.assert_array_equal(
    np.asarray(backdoor.train.image)[hit],
    np.round(np.clip(x + delta, 0, 1) * 255),
  )


def test_the_noise_lowers_the_surrogates_loss_on_the_target_class(
  planted, task, toy
):
  model = task.model
  variables = learn.init_variables(jax.random.key(7), toy, model=model)
  known = task.replace(clean=lambda fit: variables)
  _, backdoor = planted(known, target=1, lr=0.05)
  x = toy.image[toy.label == 1].astype(jnp.float32) / 255

  def loss(images):
    logits = model.apply(variables, images)[0]
    label = jnp.ones(len(images), jnp.int32)
    return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()

  assert loss(jnp.clip(x + backdoor.params["delta"], 0, 1)) < loss(x) - 0.01


def test_only_images_of_the_target_class_shape_the_noise(planted, task, toy):
  other = toy.replace(
    image=jnp.where((toy.label == 3)[:, None, None, None], toy.image, 0)
  )
  one, two = (
    planted(task.replace(train=data), target=3)[1].params["delta"]
    for data in (toy, other)
  )
  np.testing.assert_array_equal(one, two)
