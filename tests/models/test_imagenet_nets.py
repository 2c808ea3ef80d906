"""ResNet50, VGG and ViT: shapes, and what they refuse."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.models import resnet50, vgg16_bn, vgg19_bn, vit_b_16
from bdjax.models.parts import vgg

TINY = {
  "resnet50": functools.partial(resnet50.make, width=4),
  "vgg16_bn": functools.partial(vgg16_bn.make, width=4, hidden=8),
  "vgg19_bn": functools.partial(vgg19_bn.make, width=4, head="compact"),
  "vit_b_16": functools.partial(
    vit_b_16.make, width=8, head_width=4, depth=2, patch=8
  ),
}


def images(size=32):
  rng = np.random.default_rng(0)
  return jnp.asarray(rng.uniform(size=(4, size, size, 3)), jnp.float32)


def shapes(model, size=32):
  image = jax.ShapeDtypeStruct((4, size, size, 3), jnp.float32)
  return jax.eval_shape(model.init, jax.random.key(0), image)


@functools.cache
def outputs(model):
  """Returns what would come of training: logits, features, statistics."""
  image = jax.ShapeDtypeStruct((4, 32, 32, 3), jnp.float32)
  train = functools.partial(model.apply, train=True, mutable=["batch_stats"])
  (logits, features), new = jax.eval_shape(train, shapes(model), image)
  return logits, features, new


def sizes(model):
  return {name: leaf.shape for name, leaf in outputs(model)[1].items()}


def test_feature_sizes():
  cifar = sizes(TINY["resnet50"](7))
  assert [cifar[f"layer{i}"] for i in (1, 2, 3, 4)] == [
    (4, 32, 32, 16),
    (4, 16, 16, 32),
    (4, 8, 8, 64),
    (4, 4, 4, 128),
  ]
  imagenet = sizes(TINY["resnet50"](7, stem="imagenet"))
  assert imagenet["layer1"] == (4, 8, 8, 16)
  assert sizes(TINY["vgg16_bn"](7)) == {
    "layer1": (4, 32, 32, 4),
    "layer2": (4, 16, 16, 8),
    "layer3": (4, 8, 8, 16),
    "layer4": (4, 4, 4, 32),
    "layer5": (4, 2, 2, 32),
    "hidden1": (4, 8),
    "pooled": (4, 8),
  }
  compact = sizes(TINY["vgg19_bn"](7))
  assert compact["pooled"] == (4, 32) and "hidden1" not in compact
  assert sizes(TINY["vit_b_16"](7)) == {
    "layer0": (4, 4, 4, 8),
    "layer1": (4, 4, 4, 8),
    "pooled": (4, 8),
  }


def test_the_stride_of_a_bottleneck_is_in_its_3x3_convolution():
  seen = {}

  def note(call, args, kwargs, context):
    out = call(*args, **kwargs)
    if context.module.name and "conv" in context.module.name:
      path = "/".join(context.module.path)
      seen[path] = (args[0].shape[1], out.shape[1])
    return out

  with nn.intercept_methods(note):
    shapes(TINY["resnet50"](10))
  assert seen["layer2_0/conv1"] == (32, 32)
  assert seen["layer2_0/conv2"] == (32, 16)
  assert seen["layer2_0/conv3"] == (16, 16)


def test_adaptive_pool_by_hand():
  row = jnp.arange(1.0, 4.0)  # 3 pixels to 2 windows: [0, 2) and [1, 3)
  x = (row.reshape(1, 3, 1, 1) * jnp.ones((1, 1, 3, 1))) + 0.0
  np.testing.assert_allclose(
    vgg.adapt(x, 2)[0, :, :, 0], [[1.5, 1.5], [2.5, 2.5]], rtol=1e-6
  )
  one = jnp.full((2, 1, 1, 3), 5.0)
  np.testing.assert_allclose(vgg.adapt(one, 7), jnp.full((2, 7, 7, 3), 5.0))
  assert vgg.adapt(x, 3) is x
  even = jnp.arange(16.0).reshape(1, 4, 4, 1)
  np.testing.assert_allclose(
    vgg.adapt(even, 2)[0, :, :, 0], [[2.5, 4.5], [10.5, 12.5]], rtol=1e-6
  )


def test_dropout_needs_training_and_a_key():
  model = vgg16_bn.make(3, width=4, hidden=64).clone(stages=(1,))
  x = images(2)
  variables = jax.jit(model.init)(jax.random.key(0), x)

  @jax.jit
  def pooled(key, variables):
    rngs = {} if key is None else {"dropout": key}
    return model.apply(
      variables, x, train=True, mutable=["batch_stats"], rngs=rngs
    )[0][1]["pooled"]

  still, dropped = (pooled(k, variables) for k in (None, jax.random.key(1)))
  zero = np.asarray(dropped == 0) & np.asarray(still != 0)
  assert 0.3 < zero.sum() / np.asarray(still != 0).sum() < 0.9
  np.testing.assert_array_equal(pooled(None, variables), still)


def test_a_vit_prefers_no_class_at_first():
  model = TINY["vit_b_16"](5, depth=1)
  variables = jax.jit(model.init)(jax.random.key(0), images())
  logits, features = jax.jit(model.apply)(variables, images())
  assert not np.asarray(logits).any()
  assert abs(np.asarray(features["pooled"]).mean(1)).max() < 1e-5
  np.testing.assert_allclose(features["pooled"].std(1), 1, rtol=1e-3)


def test_a_resized_image_gives_what_the_large_one_gives():
  make = functools.partial(TINY["vit_b_16"], 0, depth=1)
  small, large = make(), make(size=32, resize=True)
  x = images(8)
  twice = jax.image.resize(x, (4, 32, 32, 3), "bilinear")
  variables = jax.jit(small.init)(jax.random.key(0), twice)
  a, _ = jax.jit(small.apply)(variables, twice)
  b, _ = jax.jit(large.apply)(variables, x)
  np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


REFUSALS = {
  "head is 'big', but must be one of torchvision": lambda: vgg16_bn.make(
    10, head="big"
  ),
  "dropout 1 leaves": lambda: vgg19_bn.make(10, dropout=1.0),
  "width 100 is not a multiple": lambda: vit_b_16.make(10, width=100),
  "size 30 is not a multiple of patch": lambda: vit_b_16.make(10, size=30),
  "resize=True needs size=": lambda: vit_b_16.make(10, resize=True),
  "16 x 16, but a VGG": lambda: shapes(TINY["vgg16_bn"](10), 16),
  "20 x 20 are no whole patches": lambda: shapes(TINY["vit_b_16"](10), 20),
  "made for 16 x 16: give": lambda: shapes(TINY["vit_b_16"](10, size=16)),
}


@pytest.mark.parametrize(("words", "make"), REFUSALS.items(), ids=REFUSALS)
def test_what_cannot_be_is_refused(words, make):
  with pytest.raises(ValueError, match=words) as caught:
    make()
  assert str(caught.value).endswith(".")


def test_positions_of_another_number_of_patches_are_refused():
  model = TINY["vit_b_16"](10)
  image = jax.ShapeDtypeStruct((4, 16, 16, 3), jnp.float32)
  with pytest.raises(ValueError, match="make 4 patches, .* learned for 16"):
    jax.eval_shape(model.apply, shapes(model), image)
