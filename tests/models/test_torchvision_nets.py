"""Torchvision's younger nets: shapes, norms, and what training drops."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.models import (
  convnext_tiny,
  densenet161,
  efficientnet_b3,
  mobilenet_v3_large,
)
from bdjax.models.parts import layers


def image(size):
  return jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)


def variables(model):
  return jax.eval_shape(model.init, jax.random.key(0), image(32))


def sizes(model, size):
  init = functools.partial(model.init_with_output, jax.random.key(0))
  (_, features), _ = jax.eval_shape(init, image(size))
  maps = [features[f"layer{i}"].shape[1:] for i in range(1, len(features))]
  return maps, features["pooled"].shape


def test_feature_sizes():
  maps, pooled = sizes(mobilenet_v3_large.make(5), 32)
  assert maps == [
    *((16, 16, 16), (8, 8, 24), (4, 4, 40)),
    *((2, 2, 80), (2, 2, 112), (1, 1, 160)),
  ]
  assert pooled == (2, 1280)
  maps, pooled = sizes(efficientnet_b3.make(5), 64)
  assert maps == [
    *((32, 32, 24), (16, 16, 32), (8, 8, 48), (4, 4, 96)),
    *((4, 4, 136), (2, 2, 232), (2, 2, 384)),
  ]
  assert pooled == (2, 1536)
  maps, pooled = sizes(convnext_tiny.make(5), 64)
  assert maps == [(16, 16, 96), (8, 8, 192), (4, 4, 384), (2, 2, 768)]
  assert pooled == (2, 768)
  maps, pooled = sizes(densenet161.make(5), 32)
  assert maps == [(8, 8, 384), (4, 4, 768), (2, 2, 2112), (1, 1, 2208)]
  assert pooled == (2, 2208)


@pytest.mark.parametrize("make", [convnext_tiny.make, densenet161.make])
def test_images_that_are_too_small_are_refused(make):
  with pytest.raises(ValueError, match="31 x 31, but a .*give 32 x 32 at le"):
    sizes(make(5), 31)


@pytest.mark.parametrize(
  ("make", "constants"),
  [
    (mobilenet_v3_large.make, (0.99, 1e-3)),
    (efficientnet_b3.make, (0.9, 1e-5)),
  ],
)
def test_batch_norms_have_torchvisions_constants(make, constants):
  seen = set()

  def note(call, args, kwargs, context):
    if isinstance(context.module, nn.BatchNorm):
      seen.add((context.module.momentum, context.module.epsilon))
    return call(*args, **kwargs)

  with nn.intercept_methods(note):
    variables(make(5))
  assert seen == {constants}


class Dropping(nn.Module):
  """Drops a quarter."""

  whole: bool

  @nn.compact
  def __call__(self, x, train):
    """Returns x [B, h, w, c] without a part of it."""
    return layers.dropped(self, x, 0.25, train, whole=self.whole)


@pytest.mark.parametrize("whole", [True, False])
def test_images_are_dropped_whole_or_by_their_numbers(whole):
  model, x = Dropping(whole), jnp.ones((400, 2, 2, 3))
  rngs = {"dropout": jax.random.key(0)}
  y = np.asarray(model.apply({}, x, True, rngs=rngs))
  np.testing.assert_allclose(np.unique(y), [0, 4 / 3], rtol=1e-6)
  share = (y == 0).mean((1, 2, 3))
  assert (set(share) == {0, 1}) == whole
  assert 0.18 < share.mean() < 0.32  # 400 images: 3 standard deviations
  np.testing.assert_array_equal(model.apply({}, x, True), x)
  np.testing.assert_array_equal(model.apply({}, x, False, rngs=rngs), x)


def test_the_first_block_is_never_left_out_and_the_last_most_often():
  rates = []

  def note(call, args, kwargs, context):
    if isinstance(context.module, nn.Dropout):
      rates.append(context.module.rate)
    return call(*args, **kwargs)

  model = efficientnet_b3.make(5)
  with nn.intercept_methods(note):
    train = functools.partial(model.apply, train=True, mutable=["batch_stats"])
    jax.eval_shape(train, variables(model), image(32))
  # Seven blocks change the shape, so that there is nothing to leave out.
  *blocks, pooled = rates[len(rates) // 2 :]
  assert len(blocks) == 26 - 7 and pooled == 0.3
  assert blocks[0] == pytest.approx(0.2 / 26)
  assert blocks[-1] == pytest.approx(0.2 * 25 / 26)
