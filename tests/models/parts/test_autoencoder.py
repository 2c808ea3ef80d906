"""LIRA's generator: published size, any image, a true transpose."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.models.parts import autoencoder
from bdjax.models.parts.autoencoder import Autoencoder


def shapes(size, channels=3):
  x = jax.ShapeDtypeStruct((2, *size, channels), jnp.float32)
  return jax.eval_shape(Autoencoder().init, jax.random.key(0), x)


def images(size, channels=3):
  rng = np.random.default_rng(0)
  return jnp.asarray(rng.uniform(size=(2, *size, channels)), jnp.float32)


def test_parameter_count():
  # 4x4 kernels and biases; a batch norm has two numbers per channel.
  down = (16 * 3 * 16 + 16) + (16 * 16 * 32 + 32)
  down += (16 * 32 * 64 + 64) + (16 * 64 * 128 + 128)
  up = (16 * 128 * 64 + 64) + (16 * 64 * 32 + 32)
  up += (16 * 32 * 16 + 16) + (16 * 16 * 3 + 3)
  norms = 2 * (16 + 32 + 64 + 128 + 64 + 32 + 16)
  leaves = jax.tree.leaves(shapes((32, 32))["params"])
  assert sum(x.size for x in leaves) == down + up + norms == 346_659


@pytest.mark.parametrize(
  ("size", "levels"),
  [
    ((8, 8), 3),
    ((16, 16), 4),
    ((28, 28), 2),
    ((32, 32), 4),
    ((64, 48), 4),
    ((224, 224), 4),
    ((32, 6), 1),
  ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_any_even_size_keeps_its_shape(size, levels, channels):
  net = Autoencoder()
  x = jax.ShapeDtypeStruct((2, *size, channels), jnp.float32)
  variables = shapes(size, channels)
  out = jax.eval_shape(net.apply, variables, x)
  assert (out.shape, out.dtype) == (x.shape, jnp.float32)
  downs = [name for name in variables["params"] if name.startswith("down_bn")]
  assert len(downs) == levels == autoencoder.levels(*size)


def test_odd_images_are_refused():
  with pytest.raises(ValueError, match="the images are 9x8"):
    autoencoder.levels(9, 8)


def test_output_fills_but_never_leaves_its_range():
  net, x = Autoencoder(), images((8, 8))
  variables = jax.jit(net.init)(jax.random.key(0), x)
  grown = jax.tree.map(lambda leaf: 100 * leaf, variables)
  out = np.asarray(jax.jit(net.apply)(grown, x))
  assert 0.99 < np.abs(out).max() <= 1


def test_up_is_the_transpose_of_down():
  # <up(x), y> = <x, down(y)>; tap t of 4 is tap i of parity a, t = 3 - 2i - a.
  kernel = jax.random.normal(jax.random.key(0), (4, 4, 3, 5))
  x = jax.random.normal(jax.random.key(1), (2, 4, 6, 5))
  y = jax.random.normal(jax.random.key(2), (2, 8, 12, 3))

  class Down(nn.Module):
    @nn.compact
    def __call__(self, y):
      return autoencoder._down(y, 5, "it")

  turned = kernel[::-1, ::-1].reshape(2, 2, 2, 2, 3, 5)
  turned = turned.transpose(0, 2, 5, 1, 3, 4).reshape(2, 2, 5, 12)
  up = {"params": {"conv": {"kernel": turned}, "bias": jnp.zeros(3)}}
  down = {"params": {"it": {"kernel": kernel, "bias": jnp.zeros(5)}}}
  left = jnp.sum(autoencoder._Up(3).apply(up, x) * y)
  right = jnp.sum(x * Down().apply(down, y))
  np.testing.assert_allclose(left, right, rtol=1e-4)


def test_all_levels_learn():
  net, x = Autoencoder(), images((16, 16))
  variables = jax.jit(net.init)(jax.random.key(0), x)

  @jax.jit
  def gradient(params):
    def loss(params):
      out, _ = net.apply(
        {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
      )
      return jnp.sum(out * x)

    return jax.grad(loss)(params)

  grads = gradient(variables["params"])
  for i in range(4):
    assert jnp.abs(grads[f"down{i}"]["kernel"]).max() > 1e-4
    assert jnp.abs(grads[f"up{i}"]["conv"]["kernel"]).max() > 1e-4
