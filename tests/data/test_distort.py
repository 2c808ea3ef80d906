import colorsys
import itertools

import jax
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from bdjax.data import distort
from bdjax.types import Batch

IMAGES = np.random.default_rng(1).random((16, 12, 16, 3), np.float32)
SQUARE = IMAGES[:, :, :12]
ONES = np.ones(16, np.float32)
COLORS = ("brightness", "contrast", "saturation", "hue")
CHANGES = {
  name: jax.jit(
    getattr(distort, name),
    static_argnames=() if name == "brightness" else "axis",
  )
  for name in ("gray", *COLORS)
}
draw_boxes = jax.jit(distort.boxes, static_argnums=1, static_argnames="ratio")
crop = jax.jit(distort.resized_crop, static_argnames="ratio")
resample = jax.jit(distort.resample)
jitter = jax.jit(distort.jitter)
simclr = jax.jit(distort.simclr())


def key(seed=0):
  return jax.random.key(seed)


def strengths(low, high):
  return np.linspace(low, high, 16, dtype=np.float32)


def by_pillow(image, box):
  top, left, height, width = map(int, box)
  where = (left, top, left + width, top + height)
  layers = [
    Image.fromarray(layer, mode="F").crop(where).resize((16, 12), 2)
    for layer in np.moveaxis(np.asarray(image), -1, 0)
  ]
  return np.stack([np.asarray(layer) for layer in layers], -1)


def test_resample_agrees_with_pillow():
  rng = np.random.default_rng(0)
  height, width = rng.integers(1, 13, 16), rng.integers(1, 17, 16)
  top, left = rng.integers(0, 13 - height), rng.integers(0, 17 - width)
  box = np.stack([top, left, height, width], 1)
  got = resample(IMAGES, box)
  want = np.stack([by_pillow(*one) for one in zip(IMAGES, box, strict=True)])
  np.testing.assert_allclose(got, want, atol=1e-5)


def test_resample_by_hand():
  ramp = np.broadcast_to(np.arange(4.0, dtype="f4")[:, None], (1, 4, 4, 3))
  got = np.asarray(resample(ramp, np.array([[0, 1, 4, 2]])))
  # Outputs lie at 0.75, 1.25, 1.75, 2.25; the ends see pixels 1 and 2 only.
  np.testing.assert_allclose(got[0, 2, :, 0], [1.0, 1.25, 1.75, 2.0])
  np.testing.assert_allclose(got, np.broadcast_to(got[:, :1], got.shape))


def test_resample_of_the_whole_image_is_the_identity():
  whole = np.tile([[0, 0, 12, 16]], (16, 1))
  np.testing.assert_array_equal(resample(IMAGES, whole), IMAGES)


@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.2, 0.3)])
def test_boxes_have_the_asked_areas_and_aspects(scale):
  shape = (4000, 32, 32)
  box = draw_boxes(key(), shape, scale=scale, ratio=(3 / 4, 4 / 3))
  top, left, height, width = np.asarray(box).T
  assert (top >= 0).all() and (top + height <= 32).all()
  assert (left >= 0).all() and (left + width <= 32).all()
  # Sides are rounded, so that each is off by half a pixel at most.
  assert ((height + 0.5) * (width + 0.5) >= scale[0] * 32**2).all()
  assert ((height - 0.5) * (width - 0.5) <= scale[1] * 32**2).all()
  assert ((width + 0.5) / (height - 0.5) >= 3 / 4).all()
  assert ((width - 0.5) / (height + 0.5) <= 4 / 3).all()
  if scale[1] < 0.5:  # every draw fits, so that the area stays uniform
    share = height * width / 32**2
    assert share.mean() == pytest.approx(0.25, abs=0.003)
    assert share.std() == pytest.approx(0.1 / 12**0.5, abs=0.004)
    assert (width > height).mean() == pytest.approx(0.46, abs=0.04)
  assert 0 == top.min() == left.min()
  assert 32 == (top + height).max() == (left + width).max()


def test_boxes_lie_anywhere():
  size, square = (4000, 8, 8), {"scale": (0.25, 0.25), "ratio": (1, 1)}
  box = np.asarray(draw_boxes(key(), size, **square))
  assert (box[:, 2:] == 4).all()
  for corner in (box[:, 0], box[:, 1]):
    counts = np.bincount(corner, minlength=5)
    assert counts.size == 5 and np.abs(counts - 800).max() < 120


@pytest.mark.parametrize(
  "size, want", [((12, 40), (0, 12, 12, 16)), ((40, 12), (12, 0, 16, 12))]
)
def test_boxes_that_never_fit_fall_back_to_the_center(size, want):
  shape = (3, *size)
  box = draw_boxes(key(), shape, scale=(1, 1), ratio=(3 / 4, 4 / 3))
  np.testing.assert_array_equal(box, [want] * 3)


def test_crop_of_everything_is_the_identity():
  got = crop(key(), SQUARE, scale=(1.0, 1.0), ratio=(1.0, 1.0))
  np.testing.assert_array_equal(got, SQUARE)


def test_crop_draws_per_image_and_repeats_itself():
  same = np.tile(IMAGES[:1], (16, 1, 1, 1))
  got, again, other = (np.asarray(crop(key(i), same)) for i in (0, 0, 1))
  pairs = itertools.combinations(got, 2)
  assert sum(bool((a == b).all()) for a, b in pairs) < 6
  assert (got == again).all() and (got != other).any()


@pytest.mark.parametrize("name", COLORS[:3])
def test_colors_agree_with_pillow(name):
  enhance = {"saturation": "Color"}.get(name, name.title())
  factors = strengths(0.0, 2.0)
  whole = np.round(IMAGES * 255).astype(np.uint8)
  got = CHANGES[name](whole / np.float32(255), factors)
  for image, factor, mine in zip(whole, factors, got, strict=True):
    tool = getattr(ImageEnhance, enhance)(Image.fromarray(image))
    want = np.asarray(tool.enhance(float(factor))) / 255
    # Pillow rounds the luma, its mean and the result to bytes.
    np.testing.assert_allclose(mine, want, atol=2.5 / 255)


def test_colors_by_hand():
  pixels = np.float32([1.0, 0.5, 0.0, 0.0, 0.5, 0.5]).reshape(1, 1, 2, 3)
  half, double = np.float32([0.5]), np.float32([2.0])
  lumas = [0.299 + 0.2935, 0.2935 + 0.057]

  def check(name, given, *want):
    got = np.asarray(CHANGES[name](pixels, *given))
    np.testing.assert_allclose(got.reshape(2, 3), want, atol=1e-6)

  check("gray", (), *([luma] * 3 for luma in lumas))
  check("brightness", (half,), [0.5, 0.25, 0], [0, 0.25, 0.25])
  check("brightness", (double,), [1, 1, 0], [0, 1, 1])
  mean = sum(lumas) / 2
  halfway = [[(c + mean) / 2 for c in p] for p in ([1, 0.5, 0], [0, 0.5, 0.5])]
  check("contrast", (half,), *halfway)
  first, second = lumas
  strong = [1, 1 - first, 0], [0, 1 - second, 1 - second]
  check("saturation", (double,), *strong)
  check("hue", (half,), [0, 0.5, 1], [0.5, 0, 0])


@pytest.mark.parametrize("axis", [-1, 1])
def test_hue_agrees_with_hsv(axis):
  shifts = strengths(-0.5, 0.5)
  grid = np.float32(list(itertools.product((0.0, 0.4, 1.0), repeat=3)))
  some = np.concatenate([grid, IMAGES.reshape(-1, 3)[:37]])
  images = np.tile(some.reshape(1, 8, 8, 3), (16, 1, 1, 1))
  images = np.moveaxis(images, -1, axis)
  got = np.moveaxis(CHANGES["hue"](images, shifts, axis=axis), axis, -1)
  for shift, mine in zip(shifts.tolist(), got, strict=True):
    hsv = [colorsys.rgb_to_hsv(*pixel) for pixel in some.tolist()]
    want = [colorsys.hsv_to_rgb((h + shift) % 1, s, v) for h, s, v in hsv]
    np.testing.assert_allclose(mine.reshape(-1, 3), want, atol=2e-6)


@pytest.mark.parametrize("name", COLORS)
def test_neutral_strengths_change_nothing(name):
  neutral = 0 * ONES if name == "hue" else ONES
  got = CHANGES[name](IMAGES, neutral)
  np.testing.assert_allclose(got, IMAGES, atol=1e-6)


@pytest.mark.parametrize("name", ("gray", *COLORS[1:]))
def test_planes_get_the_same_colors(name):
  given = () if name == "gray" else (strengths(0.1, 0.4),)
  change = CHANGES[name]
  got = change(np.moveaxis(IMAGES, -1, 1), *given, axis=1)
  want = np.moveaxis(change(IMAGES, *given), -1, 1)
  np.testing.assert_allclose(got, want, atol=1e-6)


def test_gray_needs_three_colors():
  with pytest.raises(ValueError, match="1 channels"):
    distort.gray(IMAGES[..., :1])


def test_jitter_alone_draws_in_its_interval():
  dim = np.full_like(IMAGES, 0.25)
  off = {"contrast": 0.0, "saturation": 0.0, "hue": 0.0}
  got = np.asarray(jitter(key(), dim, brightness=0.4, **off))
  factors = got[:, 0, 0, 0] / 0.25
  np.testing.assert_allclose(got, dim * factors[:, None, None, None], atol=1e-6)
  assert (factors >= 0.6).all() and (factors <= 1.4).all()
  assert len(set(factors.tolist())) == 16
  assert factors.min() < 0.75 and factors.max() > 1.25
  wide = np.asarray(jitter(key(), dim, brightness=3.0, **off))
  assert wide.min() > 0  # factors below 0 would be clipped to black


def test_jitter_draws_all_strengths_and_orders(monkeypatch):
  def drawn(images, strengths, order, *, axis):
    return strengths, order

  monkeypatch.setattr(distort, "_in_order", drawn)
  keys = jax.random.split(key(), 200)
  draw = jax.jit(jax.vmap(lambda key: distort.jitter(key, IMAGES)))
  strengths, orders = map(np.asarray, draw(keys))
  assert (np.sort(orders) == np.arange(4)).all()
  assert len(set(map(tuple, orders.tolist()))) == 24
  low, high = strengths.min((0, 2)), strengths.max((0, 2))
  np.testing.assert_allclose(low, [0.6, 0.6, 0.6, -0.1], atol=0.002)
  np.testing.assert_allclose(high, [1.4, 1.4, 1.4, 0.1], atol=0.002)


def test_jitter_repeats_itself_and_stays_in_range():
  got = [np.asarray(jitter(key(seed), IMAGES)) for seed in (0, 0, 1)]
  for one in got:
    assert one.shape == IMAGES.shape
    assert one.min() >= 0 and one.max() <= 1
  assert (got[0] == got[1]).all() and (got[0] != got[2]).any()


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2)])
def test_order_is_kept(order):
  given = np.stack(
    [*(strengths(a, 1.5) for a in (0.5, 0.6, 0.7)), strengths(-0.2, 0.2)]
  )
  change = jax.jit(distort._in_order, static_argnames="axis")
  got = change(IMAGES, given, np.array(order), axis=-1)
  want = IMAGES
  for which in order:
    want = CHANGES[COLORS[which]](want, given[which])
  np.testing.assert_allclose(got, want, atol=1e-5)


def test_simclr_view_draws_per_image():
  count = 256
  images = np.tile(SQUARE[:1], (count, 1, 1, 1))
  batch = Batch(images, np.arange(count), np.arange(count))
  got, again, other = (
    jax.tree.map(np.asarray, simclr(key(i), batch)) for i in (0, 0, 1)
  )
  assert (got.label == batch.label).all() and (got.index == batch.index).all()
  assert got.image.shape == images.shape and got.image.dtype == np.float32
  assert got.image.min() >= 0 and got.image.max() <= 1
  assert len({image.tobytes() for image in got.image}) > 240
  spread = np.ptp(got.image, axis=-1).max((1, 2))
  assert np.mean(spread < 1e-6) == pytest.approx(0.2, abs=0.08)  # gray
  assert (got.image == again.image).all()
  assert (got.image != other.image).any()


def test_recolor_leaves_a_fifth_of_the_images_alone():
  count = 256
  flat = np.full((count, 4, 4, 3), np.float32([0.6, 0.3, 0.4]))
  got = np.asarray(jax.jit(distort.recolor)(key(), flat))
  kept = np.abs(got - flat).max((1, 2, 3)) < 1e-5
  assert np.mean(kept) == pytest.approx(0.2 * 0.8, abs=0.07)
