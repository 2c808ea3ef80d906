import jax
import numpy as np
import pytest
from flax import traverse_util

from bdjax.methods import registry
from bdjax.models.parts import pairs, routes

EPSILON = 1e-5  # batch norm's
OPTIONS = {"vgg16_bn": {"head": "compact"}, "vgg19_bn": {"hidden": 4}}


def images(name):
  side = 32 if "vgg" in name else 8
  return jax.random.uniform(jax.random.key(1), (2, side, side, 3))


def built(name):
  """Returns a model with unequal statistics, and its flat variables."""
  model = registry.get("models", name)(4, width=4, **OPTIONS.get(name, {}))
  flat = traverse_util.flatten_dict(
    jax.eval_shape(model.init, jax.random.key(0), images(name)), sep="/"
  )
  rng = np.random.default_rng(0)
  for path, leaf in flat.items():
    low = 0.5 if path.endswith(("var", "scale")) else -0.5
    flat[path] = rng.uniform(low, low + 1, leaf.shape).astype(np.float32)
  return model, flat


def undone(flat, pair):
  """Returns the variables with a convolution scaled and its norm told so.

  That changes nothing if and only if nothing else reads the convolution.
  """
  flat = dict(flat)
  kernel, mean, var = (
    f"params/{pair.conv}/kernel",
    f"batch_stats/{pair.norm}/mean",
    f"batch_stats/{pair.norm}/var",
  )
  factor = np.linspace(0.5, 2, flat[kernel].shape[-1]).astype(np.float32)
  flat[kernel] = flat[kernel] * factor.reshape(1, 1, 1, -1)
  flat[mean] = flat[mean] * factor
  bias = f"params/{pair.conv}/bias"
  if bias in flat:
    flat[bias] = flat[bias] * factor
  flat[var] = (flat[var] + EPSILON) * factor**2 - EPSILON
  return flat


def changes(name, found):
  """Returns how far the logits move when each pair is rescaled, relatively."""
  model, flat = built(name)

  @jax.jit
  def logits(flat):
    variables = traverse_util.unflatten_dict(flat, sep="/")
    return model.apply(variables, images(name))[0]

  before = np.asarray(logits(flat))
  gaps = [np.abs(logits(undone(flat, p)) - before).max() for p in found]
  return np.array(gaps) / np.abs(before).max()


def tree(name):
  _, flat = built(name)
  return traverse_util.unflatten_dict(flat, sep="/")["params"]


@pytest.mark.parametrize(
  ("name", "count"),
  [
    ("cnn", 3),
    ("resnet9", 7),
    ("preact_resnet18", 8),
    ("resnet18", 20),
    ("resnet50", 53),
    ("vgg16_bn", 13),
  ],
)
def test_nothing_but_the_norm_reads_the_convolution(name, count):
  found = pairs.find(tree(name))
  assert len(set(found)) == count
  assert changes(name, found).max() < 1e-4


def test_neighbours_in_a_pre_activation_network_are_no_pairs():
  params = tree("preact_resnet18")
  found = pairs.find(params, adjacent=True)
  wrong = sorted(set(found) - set(pairs.find(params)))
  assert len(found) == 16 and len(wrong) == 8
  assert pairs.Pair("conv1", "layer1_0/bn1") in wrong
  assert pairs.Pair("layer1_1/conv2", "layer2_0/bn1") in wrong
  assert pairs.Pair("layer2_0/shortcut", "layer2_1/bn1") in wrong
  assert changes("preact_resnet18", wrong).min() > 1e-2


@pytest.mark.parametrize(
  "name", ["cnn", "resnet9", "resnet18", "resnet50", "vgg19_bn"]
)
def test_neighbours_are_pairs_elsewhere(name):
  params = tree(name)
  assert pairs.find(params, adjacent=True) == pairs.find(params)


def test_every_norm_of_a_vgg_has_a_pair_whatever_its_head():
  params = tree("vgg19_bn")
  found = pairs.find(params)
  assert {pair.norm for pair in found} == {x for x in params if "bn" in x}
  assert found[0] == pairs.Pair("conv1_1", "bn1_1") and len(found) == 16


def test_a_transformer_has_no_pairs_and_no_route():
  model = registry.get("models", "vit_b_16")(4, width=8, head_width=4, depth=1)
  image = jax.ShapeDtypeStruct((1, 16, 16, 3), "float32")
  params = jax.eval_shape(model.init, jax.random.key(0), image)["params"]
  with pytest.raises(ValueError, match="no pairs .* 'layer0'.*: use cnn, a Re"):
    pairs.find(params)
  with pytest.raises(ValueError, match="no route is known"):
    routes.find(params)


@pytest.mark.parametrize("name", ["resnet50", "vgg19_bn"])
def test_no_route_is_made_up_where_none_is_known(name):
  with pytest.raises(ValueError, match="no route is known"):
    routes.find(tree(name))


def test_a_vgg_without_norms_has_no_pairs():
  model = registry.get("models", "vgg19")(4, width=4, head="compact")
  image = jax.ShapeDtypeStruct((1, 32, 32, 3), "float32")
  params = jax.eval_shape(model.init, jax.random.key(0), image)["params"]
  with pytest.raises(ValueError, match="no pairs .*'conv1_1'.*: use cnn, a Re"):
    pairs.find(params)


def test_an_unknown_tree_is_refused():
  with pytest.raises(ValueError, match=r"\['head', 'stem'\]: use cnn"):
    pairs.find({"stem": {}, "head": {}})


def test_a_backbones_pairs_lie_under_it():
  params = tree("resnet50")
  under = pairs.find({"backbone": params, "head": {}})
  for pair, inside in zip(under, pairs.find(params), strict=True):
    assert pair == tuple(f"backbone/{name}" for name in inside)
