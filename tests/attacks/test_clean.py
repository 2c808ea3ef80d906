import chex
import jax
import jax.numpy as jnp
import pytest

from bdjax.methods import registry
from bdjax.training import learn, loop, regimes
from bdjax.types import CLEAN


def make(**args):
  return registry.get("attacks", "clean")(num_classes=4, **args)


def test_the_victim_is_the_clean_classifier(task, toy, model):
  own = learn.init_variables(jax.random.key(0), toy, model=model)
  shared = task.replace(clean=lambda fit: own)
  backdoor = make().plant(jax.random.key(1), shared, loop.scan_fit)
  chex.assert_trees_all_equal(backdoor.variables, own)
  assert backdoor.train is task.train
  assert (backdoor.role == CLEAN).all()


def test_the_trigger_leaves_images_alone():
  images = jnp.linspace(0, 1, 24).reshape(2, 2, 2, 3)
  attack = make(target=2)
  assert (attack.trigger(jax.random.key(0), images, {}) == images).all()
  assert attack.target(jnp.arange(4)).tolist() == [2, 2, 2, 2]


def test_regimes_do_not_apply(task):
  with pytest.raises(ValueError, match="clean trains nothing"):
    make().plant(
      jax.random.key(0), task.replace(regime=regimes.fmn()), loop.scan_fit
    )
