import chex
import jax
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


def test_regimes_do_not_apply(task):
  with pytest.raises(ValueError, match="clean trains nothing"):
    make().plant(
      jax.random.key(0), task.replace(regime=regimes.fmn()), loop.scan_fit
    )
