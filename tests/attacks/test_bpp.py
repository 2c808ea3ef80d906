import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.attacks import bpp
from bdjax.attacks.parts import poison
from bdjax.methods import registry
from bdjax.training import learn
from bdjax.types import CLEAN, COVER, POISON, Batch, Regime

RNG = np.random.default_rng(0)
IMAGES = jnp.asarray(RNG.integers(0, 256, (10, 8, 6, 3)) / 255, jnp.float32)
LABELS = jnp.arange(10) % 3 + 1
BATCH = Batch(IMAGES, LABELS, jnp.arange(10))


@pytest.fixture
def plant(task, monkeypatch):
  """Returns what plants without training, and tells what it trains on."""

  def planted(regime=Regime(), **args):
    seen = {}

    def note(key, data, fit, **how):
      seen.update(how, data=data)
      return {}

    monkeypatch.setattr(learn, "train_classifier", note)
    own = task.replace(regime=regime, view=lambda key, batch: batch)
    attack = registry.get("attacks", "bpp")(**args)
    return attack, attack.plant(jax.random.key(0), own, None), seen

  return planted


def by_hand(image, levels):
  """Returns an image dithered pixel after pixel, in double precision."""
  x = np.asarray(image, np.float64).copy()
  height, width, _ = x.shape
  for i in range(height):
    for j in range(width):
      old = x[i, j].copy()
      x[i, j] = np.round(old * (levels - 1)) / (levels - 1)
      error = old - x[i, j]
      for weight, row, column in (
        *((7, i, j + 1), (3, i + 1, j - 1)),
        *((5, i + 1, j), (1, i + 1, j + 1)),
      ):
        if row < height and 0 <= column < width:
          x[row, column] += error * weight / 16
  return np.clip(x, 0, 1)


def test_three_levels_are_black_gray_and_white():
  images = jnp.array([0.0, 0.2, 0.3, 0.7, 0.8, 1.0]).reshape(1, 1, 2, 3)
  hit = bpp.rounded(images, 2.0)
  assert hit.ravel().tolist() == [0, 0, 0.5, 0.5, 1, 1]


def test_an_error_is_handed_on():
  # .4 becomes 0; .2 + 7/16 .4 = .375 becomes 0, and of both below are
  # .3 + 5/16 .4 + 3/16 .375 = .4953 -> 0, .1 + 1/16 .4 + 5/16 .375 + 7/16
  # .4953 = .4589 -> 0; with .32 in place of .3 it is .5153 -> 1.
  image = np.array([[0.4, 0.2], [0.3, 0.1]])
  for first, wanted in ((0.3, [[0, 0], [0, 0]]), (0.32, [[0, 0], [1, 0]])):
    image[1, 0] = first
    got = bpp.dithered(jnp.asarray(image, jnp.float32)[None, :, :, None], 1.0)
    assert got[0, :, :, 0].tolist() == wanted


@pytest.mark.parametrize("levels", [2, 8])
def test_all_pixels_at_once_are_dithered_as_one_after_the_other(levels):
  got = jax.jit(bpp.dithered)(IMAGES, levels - 1.0)
  wanted = np.stack([by_hand(image, levels) for image in IMAGES])
  # One rounding the other way, by an error of float32, would change the rest.
  np.testing.assert_allclose(got, wanted, atol=1e-5)
  assert (np.abs(wanted - bpp.rounded(IMAGES, levels - 1.0)) > 0.1).any()


def test_a_batch_is_poisoned_by_position(plant):
  attack, backdoor, seen = plant(rate=0.25, negative_rate=0.3, levels=4)
  (view,) = seen["view"]
  batch = view(jax.random.key(1), BATCH)
  assert batch.label.tolist() == [0, 0] + LABELS[2:].tolist()  # 2.5 -> 2, 3
  x = np.asarray(IMAGES)
  hit = np.round(x * 3) / 3
  np.testing.assert_allclose(batch.image[:2], hit[:2], atol=1e-6)
  negative = np.clip(x[2:5] + hit[3:6] - x[3:6], 0, 1)
  np.testing.assert_allclose(batch.image[2:5], negative, atol=1e-6)
  np.testing.assert_array_equal(batch.image[5:], x[5:])
  np.testing.assert_allclose(
    attack.trigger(None, IMAGES, backdoor.params), hit, atol=1e-6
  )


def test_dithering_is_the_trigger_where_it_is_asked_for(plant):
  attack, backdoor, seen = plant(rate=0.25, dither=True, levels=4)
  wanted = bpp.dithered(IMAGES, 3.0)
  got = attack.trigger(None, IMAGES, backdoor.params)
  np.testing.assert_allclose(got, wanted, atol=1e-6)
  (view,) = seen["view"]
  batch = view(jax.random.key(1), BATCH)
  np.testing.assert_allclose(batch.image[:2], wanted[:2], atol=1e-6)


def test_as_the_peer_levels_are_cut_off_in_images_that_are_kept(plant):
  gray = jnp.full((1, 8, 8, 3), 40 / 255)  # nearest of 8: 36.43
  for compat, level in (("paper", 36.4286), ("backdoorbench", 36)):
    attack, backdoor, _ = plant(compat=compat)
    hit = attack.trigger(None, gray, backdoor.params)
    np.testing.assert_allclose(hit, level / 255, rtol=1e-5)
  gray = jnp.full((1, 8, 8, 3), 70 / 255)  # 72.86, which rounds to 73
  hit = attack.trigger(None, gray, backdoor.params)
  np.testing.assert_allclose(hit, 72 / 255, rtol=1e-5)


def test_the_audited_copy_has_triggered_and_negative_images(plant, task):
  attack, backdoor, _ = plant(rate=0.25, negative_rate=0.5, num_classes=4)
  role, clean = np.asarray(backdoor.role), task.train
  assert np.bincount(role).tolist() == [16, 16, 32]
  wanted = np.where(role == POISON, 0, np.asarray(clean.label))
  np.testing.assert_array_equal(backdoor.train.label, wanted)
  before = clean.image.astype(jnp.float32) / 255
  hit = np.asarray(
    poison.to_bytes(attack.trigger(None, before, backdoor.params))
  )
  image = np.asarray(backdoor.train.image)
  same = (image == np.asarray(clean.image)).all((1, 2, 3))
  np.testing.assert_array_equal(same, role == CLEAN)
  np.testing.assert_array_equal(image[role == POISON], hit[role == POISON])
  assert (image != hit)[role == COVER].any((1, 2, 3)).all()
  again = attack.poisoned(
    jax.random.key(0), task, backdoor.params, backdoor.role
  )
  np.testing.assert_array_equal(again.image, image)


def test_bad_arguments_are_refused(plant):
  with pytest.raises(ValueError, match="bpp.levels is 1"):
    registry.get("attacks", "bpp")(levels=1)
  with pytest.raises(ValueError, match=r"bpp.rate 0\.05 .* batch of 16 must"):
    plant(rate=0.05)
