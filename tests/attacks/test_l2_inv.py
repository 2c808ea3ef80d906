import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.attacks.parts import neurons
from bdjax.methods import registry
from bdjax.training import learn
from bdjax.types import POISON


class Small(nn.Module):
  """A dense classifier, quick to compile."""

  @nn.compact
  def __call__(self, x, train=False):
    hidden = nn.relu(nn.Dense(8)(x.reshape(len(x), -1)))
    return nn.Dense(4, name="linear")(hidden), {"pooled": hidden}


@pytest.fixture(scope="module")
def task(task):
  return task.replace(model=Small())


def no_fit(key, step, state, data, **how):
  return state, {}


def planted(task, **args):
  args = {"rounds": 8, "images": 16, "num_classes": 4} | args
  attack = registry.get("attacks", "l2_inv")(**args)
  return attack, attack.plant(jax.random.key(0), task, no_fit)


def length(backdoor):
  return float(jnp.linalg.norm(backdoor.params["delta"]))


def test_the_perturbation_fills_its_budget_and_not_more(task):
  _, backdoor = planted(task, norm=0.3, lr=0.1)
  np.testing.assert_allclose(length(backdoor), 0.3, rtol=1e-6)


def test_a_heavy_penalty_keeps_it_shorter_than_the_budget(task):
  _, light = planted(task, norm=9.0, beta=0.0)
  _, heavy = planted(task, norm=9.0, beta=1e3)
  assert length(heavy) < 0.5 * length(light) < 4.5


def test_the_chosen_neurons_are_excited(task, toy):
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


def test_a_given_picture_is_added_and_clipped(task):
  attack, backdoor = planted(task, image=jnp.full((4, 4, 3), 0.25))
  images = jnp.array([0.0, 0.5, 0.9])[:, None, None, None]
  images = jnp.broadcast_to(images, (3, 8, 8, 3))
  got = attack.trigger(jax.random.key(1), images, backdoor.params)
  np.testing.assert_allclose(got[:, 3, 3, 1], [0.25, 0.75, 1.0], rtol=1e-6)


def test_five_percent_are_poisoned_with_the_rounded_trigger(task):
  attack, backdoor = planted(task)
  hit = np.asarray(backdoor.role) == POISON
  assert hit.sum() == 3  # round(0.05 * 64)
  before = task.train.image[hit].astype(jnp.float32) / 255
  wanted = attack.trigger(jax.random.key(1), before, backdoor.params)
  np.testing.assert_array_equal(
    backdoor.train.image[hit], np.round(np.asarray(wanted) * 255)
  )
  assert (np.asarray(backdoor.train.label)[hit] == 0).all()
