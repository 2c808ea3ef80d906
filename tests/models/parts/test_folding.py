import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from bdjax.methods import registry
from bdjax.models.parts import folding, pairs

MODELS = ("cnn", "preact_resnet18", "resnet18", "resnet9", "vgg16_bn")


def drawn(tree, seed=0):
  """Returns a tree of random numbers, positive where it matters."""
  rng = np.random.default_rng(seed)

  def leaf(path, x):
    low = 0.5 if path[-1].key in ("var", "scale") else -0.5
    return jnp.float32(rng.uniform(low, low + 1, x.shape))

  return jax.tree.map_with_path(leaf, tree)


def inserted(model, variables, conv, layer, images):
  """Returns logits of a model with a layer before a convolution.

  The layer is applied to the padded input, by itself.

  Args:
    layer: array [B, h, w, C] -> such an array.
  """
  path = tuple(conv.split("/"))

  def put(call, args, kwargs, context):
    module = context.module
    if module.path != path or context.method_name != "__call__":
      return call(*args, **kwargs)
    x = layer(jnp.pad(args[0], ((0, 0), *module.padding, (0, 0))))
    kernel = module.get_variable("params", "kernel")
    form = ("NHWC", "HWIO", "NHWC")
    y = lax.conv_general_dilated(
      x, kernel, module.strides, "VALID", dimension_numbers=form
    )
    bias = module.get_variable("params", "bias")
    return y if bias is None else y + bias.reshape(1, 1, 1, -1)

  with nn.intercept_methods(put):
    return model.apply(variables, images, train=False)[0]


@pytest.mark.parametrize("name", MODELS)
def test_a_layer_before_a_convolution_becomes_part_of_it(name):
  more = {"head": "compact"} if "vgg" in name else {}
  model = registry.get("models", name)(4, width=4, **more)
  side = 32 if "vgg" in name else 8
  images = jax.random.uniform(jax.random.key(1), (2, side, side, 3))
  tree = jax.eval_shape(model.init, jax.random.key(0), images)
  variables, rng = drawn(tree), np.random.default_rng(1)
  for pair in (pairs.find(tree["params"])[i] for i in (1, -2)):
    node = functools.reduce(dict.get, pair.conv.split("/"), tree["params"])
    size = node["kernel"].shape[2]
    kernel, bias = rng.normal(size=(size, size)), rng.normal(size=size)
    kernel, bias = jnp.float32(kernel), jnp.float32(bias)

    def layer(x, kernel=kernel, bias=bias):
      return jnp.einsum("bhwi,ij->bhwj", x, kernel) + bias.reshape(1, 1, 1, -1)

    @jax.jit
    def logits(variables, pair=pair, layer=layer, kernel=kernel, bias=bias):
      new = folding.preceded(variables, pair, kernel, bias)
      chex.assert_trees_all_equal_shapes(new, variables)
      found, before = (
        model.apply(x, images, train=False)[0] for x in (new, variables)
      )
      wanted = inserted(model, variables, pair.conv, layer, images)
      return found, wanted, before

    found, wanted, before = logits(variables)
    scale = float(jnp.abs(wanted).max())
    np.testing.assert_allclose(found, wanted, atol=1e-4 * scale)
    assert float(jnp.abs(before - wanted).max()) > 0.01 * scale


def test_the_identity_changes_nothing():
  model = registry.get("models", "cnn")(4, width=4)
  variables = drawn(
    jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
  )
  pair = pairs.Pair("conv3", "bn3")
  same = folding.preceded(variables, pair, jnp.eye(8), jnp.zeros(8))
  chex.assert_trees_all_equal(same, variables)


def test_what_a_convolution_reads():
  model = registry.get("models", "cnn")(4, width=4)
  images = jax.random.uniform(jax.random.key(1), (2, 8, 8, 3))
  variables = drawn(jax.eval_shape(model.init, jax.random.key(0), images))
  shown = model.apply(variables, images, train=False)[1]
  for i in (1, 2):
    found = folding.read(model, variables, f"conv{i + 1}", images)
    np.testing.assert_allclose(found, shown[f"layer{i}"], 1e-5, 1e-6)
