import jax
import jax.numpy as jnp
import numpy as np

from bdjax.data import augment
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


def test_together_draws_once_for_the_whole_batch():
  images = jnp.tile(IMAGES[:1], (32, 1, 1, 1))
  batch = Batch(images, jnp.arange(32), jnp.arange(32))
  view = augment.standard(padding=2)
  apart = view(key(), batch).image
  assert (apart != apart[:1]).any()
  got = augment.together(view)(key(), batch)
  assert (got.image == got.image[:1]).all()
  assert (got.label == batch.label).all()
