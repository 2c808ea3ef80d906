import jax
import jax.numpy as jnp
import numpy as np

from bdjax import augment
from bdjax.types import Batch

IMAGES = jax.random.uniform(jax.random.key(1), (32, 5, 6, 3), minval=0.1)


def key():
  return jax.random.key(0)


def test_crop_is_a_shift_filled_with_black():
  got = np.asarray(augment.crop(jax.random.key(0), IMAGES, padding=2))
  padded = np.pad(np.asarray(IMAGES), ((0, 0), (2, 2), (2, 2), (0, 0)))
  shifts = set()
  for image, frame in zip(got, padded, strict=True):
    hits = [
      (i, j)
      for i in range(5)
      for j in range(5)
      if np.array_equal(frame[i : i + 5, j : j + 6], image)
    ]
    assert len(hits) == 1
    shifts.add(hits[0])
  assert len(shifts) > 8  # drawn per image


def test_flip_mirrors_about_half_of_the_images():
  got = augment.flip(jax.random.key(0), IMAGES)
  same = (got == IMAGES).all((1, 2, 3))
  mirrored = (got == IMAGES[:, :, ::-1]).all((1, 2, 3))
  assert (same ^ mirrored).all()
  assert 6 <= int(same.sum()) <= 26


def test_standard_view_keeps_labels_and_its_options():
  batch = Batch(IMAGES, jnp.arange(32), jnp.arange(32))
  plain = augment.standard(padding=0, mirror=False)(key(), batch)
  assert (plain.image == IMAGES).all()
  both = augment.standard(padding=1)(key(), batch)
  assert (both.label == batch.label).all()
  assert both.image.shape == IMAGES.shape
  assert (both.image != IMAGES).any()


def test_chain_applies_in_order_with_its_own_keys():
  double = augment.on_images(lambda key, x: 2 * x)
  inc = augment.on_images(lambda key, x: x + 1)
  batch = Batch(jnp.ones((1, 1, 1, 1)), jnp.zeros(1), jnp.zeros(1))
  assert augment.chain(double, inc)(key(), batch).image.item() == 3
  assert augment.chain(inc, double)(key(), batch).image.item() == 4
  noise = augment.on_images(lambda key, x: x + jax.random.normal(key, x.shape))
  batch = Batch(jnp.zeros((1, 1, 1, 1)), jnp.zeros(1), jnp.zeros(1))
  once = noise(jax.random.fold_in(key(), 0), batch).image
  twice = augment.chain(noise, noise)(key(), batch).image
  assert not jnp.allclose(twice, 2 * once)
