import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.methods import registry
from bdjax.models.parts import heads
from bdjax.training import loop
from bdjax.types import Access, Dataset

fine_pruning = registry.module("defenses", "fine_pruning")
RANK = np.asarray([3, 7, 0, 5, 1, 6, 2, 4])  # of 8 channels, by activation
NEEDED = 3  # the channel of rank 5 makes the model right


class Reader(nn.Module):
  """Takes the pixels of an image for its pooled features."""

  name_of_last: str = "linear"

  @nn.compact
  def __call__(self, x, train=False):
    pooled = x.reshape(x.shape[0], -1)
    return nn.Dense(2, name=self.name_of_last)(pooled), {"pooled": pooled}


class Pixels(nn.Module):
  """An encoder whose pooled features are an image's pixels."""

  def __call__(self, x, train=False):
    pooled = x.reshape(x.shape[0], -1)
    return pooled, {"pooled": pooled}


def reader(**args):
  """Returns access to 40 equal images that one channel tells apart from 0."""
  image = jnp.asarray(20 + 10 * RANK, jnp.uint8).reshape(1, 1, 8, 1)
  data = Dataset(jnp.tile(image, (40, 1, 1, 1)), jnp.ones(40, jnp.int32))
  model = Reader(**args)
  kernel = jnp.full((8, 2), 1e-3).at[NEEDED, 1].set(10.0)
  params = {model.name_of_last: {"kernel": kernel, "bias": jnp.array([0.5, 0])}}
  return Access({"params": params}, data, model=model)


def make(name="fine_pruning", **args):
  return registry.get("defenses", name)(**({"batch_size": 16} | args))


def pruned(access, **args):
  defense = make(epochs=0, **args)
  found = defense.defend(jax.random.key(0), access, loop.host_fit())
  kernel = found.variables["params"]["linear"]["kernel"]
  return found.memo, set(RANK[~np.asarray(kernel).any(axis=1)].tolist())


def test_prunes_the_idle_channels_that_accuracy_can_spare():
  memo, gone = pruned(reader())
  np.testing.assert_array_equal(memo["holdout_accuracy"], [1] * 6 + [0] * 2)
  assert memo["pruned"] == 5 and gone == {0, 1, 2, 3, 4}


def test_prunes_a_share_at_a_time():
  memo, gone = pruned(reader(), step=0.2)  # ceil(1.6) = 2 channels
  np.testing.assert_array_equal(memo["holdout_accuracy"], [1, 1, 1, 0])
  assert memo["pruned"] == 4 and gone == {0, 1, 2, 3}


def test_backdoorbench_goes_a_step_beyond_less_a_channel():
  memo, gone = pruned(reader(), step=0.3, compat="backdoorbench")
  # by 3: right with 0 and 3, wrong with 6, of which it prunes 5
  np.testing.assert_array_equal(memo["holdout_accuracy"], [1, 1, 0])
  assert memo["pruned"] == 5 and gone == {0, 1, 2, 3, 4}
  memo, gone = pruned(reader(), threshold=1.0, compat="backdoorbench")
  assert memo["pruned"] == 6  # never beyond: 7 channels, less one


@pytest.mark.parametrize(
  ("head", "first", "others"),
  [
    (heads.Linear(2), "linear", ()),
    (heads.MLP(2, hidden=(2, 2)), "linear1", ("linear2", "linear")),
  ],
)
def test_prunes_what_the_first_layer_of_a_head_reads(head, first, others):
  access = reader()
  unchanged = {"kernel": jnp.eye(2), "bias": jnp.zeros(2)}
  layers = dict.fromkeys(others, unchanged)
  layers[first] = access.variables["params"]["linear"]
  access = access.replace(
    model=heads.Headed(Pixels(), head), variables={"params": {"head": layers}}
  )
  found = make(epochs=1).defend(jax.random.key(0), access, loop.host_fit())
  kernel = np.asarray(found.variables["params"]["head"][first]["kernel"])
  assert found.memo["pruned"] == 5
  assert set(RANK[~kernel.any(axis=1)].tolist()) == {0, 1, 2, 3, 4}


def test_stops_at_the_first_drop_beyond_the_threshold():
  curve = jnp.asarray([0.9, 0.92, 0.82, 0.80, 0.9])
  found = [
    int(fine_pruning.tolerated(curve, threshold=t))
    for t in (0.0, 0.05, 0.1, 0.2)
  ]
  assert found == [1, 1, 2, 4]  # floors .9, .855, .81, .72


def test_pruned_channels_stay_pruned_and_the_rest_learns(suspect):
  keep = jnp.arange(16) % 3 > 0
  access = suspect.replace(
    variables=fine_pruning.pruned(suspect.variables, keep)
  )
  defense = make(epochs=2, step=0.9, threshold=0.0)  # prunes nothing more
  found = defense.defend(jax.random.key(0), access, loop.host_fit())
  kernel = np.asarray(found.variables["params"]["linear"]["kernel"])
  before = np.asarray(suspect.variables["params"]["linear"]["kernel"])
  assert not kernel[~np.asarray(keep)].any()
  assert (kernel != before)[np.asarray(keep)].all()
  chex.assert_trees_all_equal_shapes_and_dtypes(
    found.variables, suspect.variables
  )


def test_with_nothing_pruned_it_is_fine_tuning(suspect, asked):
  args = {"lr": 0.05, "epochs": 2, "schedule": "constant"}
  plain = make("ft", **args).defend(jax.random.key(0), suspect, asked)
  # one step would take all 16 channels but the last, which is never taken
  same = make(step=0.99, **args).defend(jax.random.key(0), suspect, asked)
  assert same.memo["pruned"] == 0
  chex.assert_trees_all_close(plain.variables, same.variables, rtol=1e-6)


def test_the_last_layer_must_be_known():
  with pytest.raises(ValueError, match="name its last layer 'linear'"):
    make().defend(
      jax.random.key(0), reader(name_of_last="head"), loop.host_fit()
    )
