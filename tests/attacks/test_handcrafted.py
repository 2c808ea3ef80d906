import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from bdjax.attacks import handcrafted
from bdjax.methods import registry
from bdjax.models.parts import routes, signals
from bdjax.training import engine, learn, regimes
from bdjax.types import CLEAN, Dataset, Recipe, Task


def key(seed=0):
  return jax.random.key(seed)


def forbidden(*args, **kwargs):
  raise AssertionError("handcrafted must not train")


def smooth():
  """Returns 16 images of 16 x 16 without sharp edges, in 4 classes."""
  coarse = jax.random.uniform(key(3), (16, 4, 4, 3))
  image = jax.image.resize(coarse, (16, 16, 16, 3), "linear") * 255
  return Dataset(image.astype(jnp.uint8), jnp.arange(16) % 4)


def edited(name, **args):
  """Returns a random model's (model, before, backdoor, attack)."""
  data = smooth()
  model = registry.get("models", name)(4, width=4)
  before = learn.init_variables(key(), data, model=model)
  task = Task(data, model, Recipe(), clean=lambda fit: before)
  attack = registry.get("attacks", "handcrafted")(
    num_classes=4, neurons=2, shortlist=1, **args
  )
  return model, before, attack.plant(key(), task, forbidden), attack


@pytest.mark.parametrize(
  "name", ["cnn", "resnet9", "preact_resnet18", "resnet18"]
)
def test_path_fires_on_the_trigger_only_and_without_training(name):
  model, before, backdoor, attack = edited(name, target=2)
  data = smooth()
  clean = data.image.astype(jnp.float32) / 255
  hit = attack.trigger(key(), clean, backdoor.params)
  apply = jax.jit(lambda x: model.apply(backdoor.variables, x, train=False))
  changed = np.flatnonzero(
    (
      before["params"]["linear"]["kernel"]
      != backdoor.variables["params"]["linear"]["kernel"]
    ).any(axis=1)
  )
  assert len(changed) == 2
  logits, features = apply(hit)
  assert (logits.argmax(-1) == 2).all()
  there, quiet = features["pooled"], apply(clean)[1]["pooled"]
  assert there[:, changed].min() > 10 * quiet[:, changed].mean()
  chex.assert_trees_all_equal_shapes_and_dtypes(before, backdoor.variables)
  assert (backdoor.role == CLEAN).all()
  chex.assert_trees_all_equal(backdoor.train, data)


def test_a_tiny_push_leaves_only_the_cut_channels_behind():
  """The path is cut off: no other channel changes in layers it passes."""
  _, before, backdoor, _ = edited("cnn", strength=1e-6)
  old, new = before["params"], backdoor.variables["params"]
  stem = (old["conv1"]["kernel"] != new["conv1"]["kernel"]).any((0, 1, 2))
  assert stem.sum() == 1
  norm = old["bn1"]["scale"] != new["bn1"]["scale"]
  np.testing.assert_array_equal(norm, stem)
  readers = new["conv2"]["kernel"][:, :, np.flatnonzero(stem)[0]]
  assert ((readers != 0).any((0, 1))).sum() == 1  # the next hop's channel


def test_refuses_regimes_and_unknown_models(task):
  attack = registry.get("attacks", "handcrafted")(num_classes=4, size=2)
  assert not attack.trains
  with pytest.raises(ValueError, match="trains nothing"):
    attack.plant(key(), task.replace(regime=regimes.fmn()), forbidden)
  with pytest.raises(ValueError, match="no route"):
    routes.find({"dense": {}, "linear": {}})


@pytest.mark.parametrize(
  ("name", "args"),
  [
    ("preact_resnet18", {"stem": "cifar_stride"}),
    ("preact_resnet18", {"activation": "silu"}),
    ("resnet18", {"strides": "1111"}),
    ("resnet18", {"stem": "cifar_pool"}),
  ],
)
def test_refuses_a_form_that_its_route_is_not_of(task, name, args):
  made = registry.get("models", name)(4, width=4, **args)
  ((argument, value),) = args.items()
  text = f"the model's {argument} is '{value}', but a route is known only for"
  with pytest.raises(ValueError, match=text):
    routes.check(made)


def test_refuses_more_neurons_than_features_before_training(task):
  attack = registry.get("attacks", "handcrafted")(num_classes=4, neurons=17)
  with pytest.raises(ValueError, match="neurons is 17.* 16 pooled"):
    attack.plant(key(), task, forbidden)


def test_gate_maps_the_guard_to_zero_and_the_trigger_to_one():
  # Largest clean responses 1 and 3: mean 2, deviation 1; triggered ones 10.
  clean = jnp.array([[1.0, 0.0], [3.0, 0.0]])[:, :, None, None]
  hit = jnp.full((2, 2, 1, 1), 10.0)
  norm, after = signals.gate(signals.Pair(clean, hit), 1.5)
  # The zero is at 2 + 1.5 * 1 = 3.5, and 10 becomes 1.
  np.testing.assert_allclose(after.hit, 1, rtol=1e-5)
  np.testing.assert_allclose(after.clean, 0)
  sd = np.sqrt(norm["var"] + signals.EPSILON)
  line = norm["scale"] * (jnp.array([3.5, 10.0]) - norm["mean"]) / sd
  np.testing.assert_allclose(line + norm["bias"], [0, 1], atol=1e-5)
  np.testing.assert_allclose(norm["mean"], 1.0)  # of all four responses
  np.testing.assert_allclose(norm["var"], 1.5)


def test_gate_never_lies_above_the_middle():
  clean = jnp.array([0.0, 2.0])[:, None, None, None]
  hit = jnp.full((2, 1, 1, 1), 5.0)
  _, after = signals.gate(signals.Pair(clean, hit), 100.0)
  np.testing.assert_allclose(after.hit, 1, rtol=1e-5)  # zero at 3, not 101


def test_detector_is_the_checkerboard_on_white_noise():
  clean = jax.random.normal(key(1), (64, 8, 8, 1))
  board = jnp.where(jnp.indices((8, 8)).sum(0) % 2 == 0, 1.0, -1.0)
  hit = clean.at[:, 4:, 4:, 0].set(board[None, 4:, 4:])
  found = signals.detector(
    signals.Pair(clean, hit), (3, 3, 1), 1, at=(5.5, 5.5)
  )
  wanted = np.asarray(board[:3, :3]) / 3
  cosine = abs((np.asarray(found)[:, :, 0, 0] * wanted).sum())
  assert cosine > 0.95


def test_spares_are_the_channels_missed_least():
  data = smooth()
  model = registry.get("models", "cnn")(4, width=4)
  variables = learn.init_variables(key(5), data, model=model)
  sample = engine.take(data, jnp.arange(16))
  flat = traverse_util.flatten_dict(variables)
  hop = routes.find(variables["params"])[0]
  losses = []
  for channel in range(4):
    cut = routes.cut(flat, hop, jnp.array([channel]))
    assert (routes.kernel(cut, ("conv2",))[:, :, channel] == 0).all()
    logits, _ = model.apply(traverse_util.unflatten_dict(cut), sample.image)
    chance = jax.nn.log_softmax(logits)[jnp.arange(16), sample.label]
    losses.append(-float(chance.mean()))
  got = handcrafted._spares(model, flat, (hop,), sample, 4)
  assert int(got[0][0]) == int(np.argmin(losses))
