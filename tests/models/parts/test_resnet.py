"""Each form of a ResNet has the weights of the usual one, and its own sides."""

import jax
import jax.numpy as jnp
import pytest

from bdjax.methods import registry
from bdjax.models.parts import layers, resnet

IMAGES = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
STEM = {  # sides of the first stage's output
  "cifar": 64,
  "cifar_pool": 32,
  "cifar_stride": 32,
  "cifar_stride_pool": 16,
  "imagenet": 16,
  "imagenet_unpooled": 32,
  "imagenet_dense": 64,
  "imagenet_dense_pool": 32,
}


def traced(name, **form):
  """Returns shapes of the weights, and sides of the stages' outputs."""
  model = registry.get("models", name)(3, width=2, **form)
  (_, features), variables = jax.eval_shape(
    model.init_with_output, jax.random.key(0), IMAGES
  )
  sides = tuple(features[f"layer{i}"].shape[1] for i in range(1, 5))
  return jax.tree.map(lambda leaf: leaf.shape, variables), sides


@pytest.mark.parametrize("form", resnet.STEMS)
def test_stems_differ_in_sides_alone(form):
  side = STEM[form]
  usual = "cifar" if form in resnet.SMALL else "imagenet"
  weights, sides = traced("resnet18", stem=form)
  assert sides == (side, side // 2, side // 4, side // 8)
  assert weights == traced("resnet18", stem=usual)[0]


@pytest.mark.parametrize("name", ["resnet18", "preact_resnet18"])
@pytest.mark.parametrize("form", resnet.STRIDES)
def test_strides_divide_the_sides(name, form):
  weights, sides = traced(name, strides=form)
  side = 64
  for stride, found in zip(form, sides, strict=True):
    side //= int(stride)
    assert found == side
  assert weights == traced(name)[0]


def test_a_stage_that_widens_may_stride_first():
  weights, sides = traced("resnet50", strides="2222", early=True)
  assert sides == (32, 16, 8, 4)
  assert weights == traced("resnet50")[0]


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
@pytest.mark.parametrize("place", resnet.LAST)
def test_a_last_activation_has_no_weights(name, place):
  assert traced(name, last_activation=place) == traced(name)


@pytest.mark.parametrize(
  ("place", "wanted"),
  [("after_sum", [0, 2]), ("before_sum", [1, 2]), ("none", [-2, 2])],
)
def test_where_the_last_activation_of_a_block_stands(place, wanted):
  """Of -3 + 1 and 3 - 1, by hand."""
  branch, shortcut = jnp.array([-3.0, 3.0]), jnp.array([1.0, -1.0])
  found = resnet.block_output(branch, shortcut, jax.nn.relu, place)
  assert found.tolist() == wanted


def test_activations_are_pytorchs():
  """Of -1 and 1, by hand."""
  wanted = {
    "relu": (0, 1),
    "leaky_relu": (-0.01, 1),
    "leaky_relu_0.1": (-0.1, 1),
    "gelu": (-0.158655, 0.841345),
    "silu": (-0.268941, 0.731059),
    "elu": (-0.632121, 1),
  }
  for name, function in layers.ACTIVATIONS.items():
    found = function(jnp.array([-1.0, 1.0]))
    assert found == pytest.approx(wanted[name], abs=1e-5)
