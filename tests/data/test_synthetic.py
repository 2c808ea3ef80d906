"""The procedural set: same bytes everywhere, balanced, free of triggers."""

import hashlib

import numpy as np
import pytest

from bdjax.data import synthetic


@pytest.mark.parametrize(
  ("split", "digest"),
  [("train", "a3e0b4d5f2c9e28e"), ("test", "0d49a308f261a0c7")],
)
def test_bytes_are_the_same_on_every_machine(split, digest):
  image, _ = synthetic.generate(split, 20)
  assert hashlib.sha256(image.tobytes()).hexdigest()[:16] == digest


def test_sizes_types_and_balance():
  image, label = synthetic.generate("test")
  assert image.shape == (1000, 32, 32, 3) and image.dtype == np.uint8
  assert label.dtype == np.int32
  np.testing.assert_array_equal(np.bincount(label), np.full(10, 100))


def test_fewer_images_are_a_prefix_of_more():
  few, labels = synthetic.generate("train", 7)
  more, more_labels = synthetic.generate("train", 1203)
  assert len(more) == 1203
  np.testing.assert_array_equal(few, more[:7])
  np.testing.assert_array_equal(labels, more_labels[:7])


def test_images_are_the_callers_to_change():
  first = synthetic.generate("test", 20)[0]
  first[:] = 0
  assert synthetic.generate("test", 20)[0].min() > 0


def test_no_two_images_are_equal():
  images = [synthetic.generate(s, 1000)[0] for s in ("train", "test")]
  assert len({image.tobytes() for image in np.concatenate(images)}) == 2000


def test_no_pixel_is_white():
  image, _ = synthetic.generate("test")
  assert image.min() >= 16 and image.max() <= 239


def test_mirroring_a_shape_keeps_it():
  y, x = 16 * np.mgrid[-16:16, -16:16] + 8
  for outline in synthetic._outlines(x, y, np.int64(9 * 16)):
    assert outline.any() and not outline.all()
    # the last digit of a right shift differs between the sides
    assert (outline != outline[:, ::-1]).sum() <= 4


def test_plain_shapes_have_one_ink_and_striped_ones_two():
  label = np.arange(synthetic._CHUNK) % 10
  inside, light = synthetic._mask(synthetic._Bits(3), label)
  share = (inside & light).sum((1, 2)) / inside.sum((1, 2))
  assert (share[label % 2 == 0] == 1).all()
  assert ((share > 0.2) & (share < 0.8))[label % 2 == 1].all()


def test_bits_cover_the_range_evenly():
  drawn = synthetic._Bits(0)((60_000,), -2, 4)
  counts = np.bincount(drawn + 2, minlength=6)
  assert len(counts) == 6 and abs(counts - 10_000).max() < 500
