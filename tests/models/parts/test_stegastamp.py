import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.models.parts import stegastamp


def counted(tree):
  return sum(x.size for x in jax.tree.leaves(tree))


def shapes(net, *args):
  return jax.eval_shape(lambda: net.init(jax.random.key(0), *args))


def test_networks_have_the_sizes_of_the_originals():
  image, bits = jnp.zeros((1, 32, 32, 3)), jnp.zeros((1, 100))

  def conv(inside, outside, size=3):
    return inside * outside * size**2 + outside

  ways_in = [(6, 32), (32, 32), (32, 64), (64, 128), (128, 256)]
  doubled = [(256, 128), (128, 64), (64, 32), (32, 32)]
  joined = [(256, 128), (128, 64), (64, 32), (70, 32), (32, 32)]
  wanted = 100 * 768 + 768 + conv(32, 3, 1)
  wanted += sum(conv(*pair) for pair in (*ways_in, *joined))
  wanted += sum(conv(*pair, size=2) for pair in doubled)
  assert counted(shapes(stegastamp.Encoder(), image, bits)) == wanted
  convs = [(3, 32), (32, 32), (32, 64), (64, 64), (64, 64), (64, 128)]
  wanted = sum(conv(*pair) for pair in (*convs, (128, 128)))
  wanted += 128 * 512 + 512 + 512 * 100 + 100
  assert counted(shapes(stegastamp.Decoder(100), image)) == wanted


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (32, 16)])
def test_images_of_other_sizes_pass(size):
  image, bits = jnp.zeros((2, *size, 1)), jnp.zeros((2, 5))
  encoder, decoder = stegastamp.Encoder(2), stegastamp.Decoder(5, 2)
  added, read = jax.eval_shape(
    lambda: (
      encoder.init_with_output(jax.random.key(0), image, bits)[0],
      decoder.init_with_output(jax.random.key(0), image)[0],
    )
  )
  assert (added.shape, read.shape) == (image.shape, bits.shape)


def test_odd_images_are_refused():
  image, bits = jnp.zeros((1, 7, 8, 3)), jnp.zeros((1, 5))
  with pytest.raises(ValueError, match="images with even sides"):
    shapes(stegastamp.Encoder(2), image, bits)


def test_doubling_repeats_pixels():
  x = jnp.arange(4.0).reshape(1, 2, 2, 1)
  wanted = np.kron([[0, 1], [2, 3]], np.ones((2, 2)))
  np.testing.assert_array_equal(stegastamp._double(x)[0, :, :, 0], wanted)


def test_what_is_added_depends_on_the_image_and_on_the_bits():
  rng = np.random.default_rng(0)
  images = jnp.asarray(rng.random((1, 8, 8, 3)), jnp.float32)
  net = stegastamp.Encoder(4)
  variables = net.init(jax.random.key(0), images, jnp.zeros((1, 5)))
  run = jax.jit(net.apply)
  one = run(variables, images, jnp.zeros((1, 5)))
  assert (one != run(variables, images, jnp.ones((1, 5)))).any()
  assert (one != run(variables, 1 - images, jnp.zeros((1, 5)))).any()
