import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.attacks.parts import neurons
from bdjax.training import learn
from bdjax.types import POISON

ARGS = {"rounds": 8, "images": 16, "num_classes": 4}


@pytest.fixture(scope="module")
def task(task, small):
  return task.replace(model=small())


def length(backdoor):
  return float(jnp.linalg.norm(backdoor.params["delta"]))


def test_the_perturbation_fills_its_budget_and_not_more(planted):
  _, backdoor = planted(norm=0.3, lr=0.1)
  np.testing.assert_allclose(length(backdoor), 0.3, rtol=1e-6)


def test_a_heavy_penalty_keeps_it_shorter_than_the_budget(planted):
  _, light = planted(norm=9.0, beta=0.0)
  _, heavy = planted(norm=9.0, beta=1e3)
  assert length(heavy) < 0.5 * length(light) < 4.5


def test_the_chosen_neurons_are_excited(planted, task, toy):
  model = task.model
  variables = learn.init_variables(jax.random.key(7), toy, model=model)
  known = task.replace(clean=lambda fit: variables)
  attack, backdoor = planted(known, rounds=30, lr=0.05)
  which = neurons.choose(variables, 2)
  x = toy.image.astype(jnp.float32) / 255
  hit = attack.trigger(jax.random.key(1), x, backdoor.params)
  said = [
    neurons.activity(i, variables, model=model, which=which).mean(0)
    for i in (x, hit)
  ]
  wanted = 10 * said[0]
  assert jnp.sum((said[1] - wanted) ** 2) < 0.9 * jnp.sum(
    (said[0] - wanted) ** 2
  )


def test_a_given_picture_is_added_and_clipped(planted):
  attack, backdoor = planted(image=jnp.full((4, 4, 3), 0.25))
  images = jnp.array([0.0, 0.5, 0.9])[:, None, None, None]
  images = jnp.broadcast_to(images, (3, 8, 8, 3))
  got = attack.trigger(jax.random.key(1), images, backdoor.params)
  np.testing.assert_allclose(got[:, 3, 3, 1], [0.25, 0.75, 1.0], rtol=1e-6)


def test_five_percent_are_poisoned_with_the_rounded_trigger(planted, task):
  attack, backdoor = planted()
  hit = np.asarray(backdoor.role) == POISON
  assert hit.sum() == 3  # round(0.05 * 64)
  before = task.train.image[hit].astype(jnp.float32) / 255
  wanted = attack.trigger(jax.random.key(1), before, backdoor.params)
  np.testing.assert_array_equal(
    backdoor.train.image[hit], np.round(np.asarray(wanted) * 255)
  )
  assert (np.asarray(backdoor.train.label)[hit] == 0).all()
