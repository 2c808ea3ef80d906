import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.attacks.parts import neurons
from bdjax.training import learn
from bdjax.types import Dataset, Task

KERNEL = jnp.array([[1.0, -1.0], [-3.0, 0.0], [0.5, 0.5], [2.0, -2.0]])


class Reader:
  """A classifier whose four neurons are 1, 2, 3, 4 times the mean pixel."""

  def apply(self, variables, images, train):
    mean = images.mean((1, 2, 3))
    pooled = mean[:, None] * jnp.arange(1.0, 5.0)[None]
    return pooled @ variables["params"]["linear"]["kernel"], {"pooled": pooled}


VARIABLES = {"params": {"linear": {"kernel": KERNEL}}}


def grey(*levels):
  image = jnp.array(levels, jnp.uint8)[:, None, None, None]
  image = jnp.broadcast_to(image, (len(levels), 4, 4, 1))
  return Dataset(image, jnp.zeros(len(levels), jnp.int32))


def excited(data, constrain=lambda i, new, grad, old: new, **changes):
  args = {"images": 9, "amplify": 2.0, "rounds": 120, "lr": 0.02} | changes
  task, how = Task(data, Reader()), neurons.Excitation(**args)
  args = (jax.random.key(0), task, VARIABLES)
  return neurons.excite(*args, how=how, constrain=constrain)


def test_chooses_by_the_sum_of_absolute_outgoing_weights():
  assert neurons.choose(VARIABLES, 3).tolist() == [3, 1, 0]


def test_more_neurons_than_there_are_are_refused():
  with pytest.raises(ValueError, match="reads 4: choose at most 4"):
    neurons.choose(VARIABLES, 5)
  with pytest.raises(ValueError, match="name its last layer 'linear'"):
    neurons.choose({"params": {"head": {}}}, 1)


def test_they_are_refused_before_a_model_is_trained(toy, model):
  variables = learn.init_variables(jax.random.key(0), toy, model=model)
  features = variables["params"]["linear"]["kernel"].shape[0]
  neurons.check(Task(toy, model), features)
  with pytest.raises(ValueError, match=f"neurons is {features + 1}, but the"):
    neurons.check(Task(toy, model), features + 1)


def test_activity_is_that_of_the_pooled_features(toy, model):
  variables = learn.init_variables(jax.random.key(0), toy, model=model)
  images = toy.image[:3].astype(jnp.float32) / 255
  which = jnp.array([5, 2])
  got = neurons.activity(images, variables, model=model, which=which)
  pooled = model.apply(variables, images)[1]["pooled"]
  np.testing.assert_allclose(got, pooled[:, [5, 2]], rtol=1e-6)


def test_neurons_reach_the_wanted_multiple():
  delta = excited(grey(51, 51))
  after = jnp.clip(51 / 255 + delta, 0, 1).mean()
  np.testing.assert_allclose(after, 2 * 51 / 255, rtol=0.01)


def test_what_is_reached_is_the_clipped_image():
  # White pixels cannot help: 0.8 of the wanted 1.2 is missing for good.
  delta = excited(grey(153), amplify=2.0)
  assert jnp.clip(153 / 255 + delta, 0, 1).mean() > 0.99


def test_the_constraint_has_the_last_word_every_round():
  def constrain(i, new, grad, old):
    del grad
    return jnp.full_like(new, 0.25) * (i == 2) + 0.5 * old * (i > 2)

  got = excited(grey(51, 102), constrain, rounds=5)
  np.testing.assert_allclose(got, 0.0625, rtol=1e-6)


def test_fewer_images_than_asked_for_suffice_and_order_is_drawn():
  data = grey(0, 100, 200)
  one = excited(data, images=1, rounds=3)
  assert np.isfinite(np.asarray(one)).all()
  assert one.shape == (1, 4, 4, 1)
