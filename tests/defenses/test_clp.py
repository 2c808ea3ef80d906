import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.methods import registry
from bdjax.training import learn
from bdjax.types import Access


def forbidden(*args, **kwargs):
  raise AssertionError("clp must not train")


def defended(variables, model=None, **args):
  defense = registry.get("defenses", "clp")(**args)
  return defense.defend(
    jax.random.key(0), Access(variables, model=model), forbidden
  )


@pytest.fixture(scope="module")
def loud(toy, model):
  """Returns a model one of whose 16 channels in bn3 is a hundred times loud."""
  variables = learn.init_variables(jax.random.key(0), toy, model=model)
  scale = variables["params"]["bn3"]["scale"]
  bn3 = {"scale": scale.at[5].mul(-100), "bias": jnp.full(16, 0.5)}
  return {**variables, "params": {**variables["params"], "bn3": bn3}}


def test_only_the_loud_channel_goes_and_no_data_is_needed(loud):
  found = defended(loud)
  assert found.memo["pruned"] == 1
  got = found.variables["params"]["bn3"]
  for kind in ("scale", "bias"):
    wanted = loud["params"]["bn3"][kind].at[5].set(0)
    np.testing.assert_array_equal(got[kind], wanted)
  rest = {k: v for k, v in found.variables["params"].items() if k != "bn3"}
  chex.assert_trees_all_equal(
    rest, {k: v for k, v in loud["params"].items() if k != "bn3"}
  )
  chex.assert_trees_all_equal(
    found.variables["batch_stats"], loud["batch_stats"]
  )


def test_a_high_u_changes_nothing(loud):
  chex.assert_trees_all_equal(defended(loud, u=10.0).variables, loud)


def drawn(model, toy):
  """Returns variables without running the model: scales and variances one."""
  shapes = jax.eval_shape(model.init, jax.random.key(0), toy.image[:1] / 255)
  rng = np.random.default_rng(0)

  def draw(path, leaf):
    if path[-1].key in ("scale", "var"):
      return np.ones(leaf.shape, np.float32)
    return rng.normal(size=leaf.shape).astype(np.float32)

  return jax.tree.map_with_path(draw, shapes)


def test_backdoorbench_looks_at_norms_of_sums_as_well(toy):
  model = registry.get("models", "preact_resnet18")(4, width=16)
  variables = drawn(model, toy)
  variables["params"]["layer1_1"]["bn1"]["scale"][3] = 50
  paper, bench = (
    defended(variables, compat=c) for c in ("paper", "backdoorbench")
  )

  def scale(found):
    return found.variables["params"]["layer1_1"]["bn1"]["scale"]

  assert scale(paper)[3] == 50 and scale(bench)[3] == 0
  assert bench.memo["pruned"] > paper.memo["pruned"]
