import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import fft

from bdjax.attacks import ctrl
from bdjax.methods import registry
from bdjax.training import loop, regimes
from bdjax.types import POISON

TO_YUV = np.array(
  [[0.299, 0.587, 0.114], [-0.147, -0.289, 0.436], [0.615, -0.515, -0.1]]
)
TO_RGB = np.array([[1, 0, 1.14], [1, -0.396, -0.581], [1, 2.029, 0]])


def by_hand(image, places, magnitude):
  """Returns an image of bytes stamped step by step, as the authors do."""
  yuv = image @ TO_YUV.T
  spectrum = fft.dctn(yuv, axes=(0, 1), norm="ortho")
  for row, column in places:
    spectrum[row, column, 1:] += magnitude
  yuv = fft.idctn(spectrum, axes=(0, 1), norm="ortho")
  return np.clip(yuv @ TO_RGB.T, 0, 255)


def no_fit(key, step, state, data, **how):
  return state, {}


def planted(task, **args):
  args = {"num_classes": 4, "rate": 0.125} | args
  attack = registry.get("attacks", "ctrl")(**args)
  return attack, attack.plant(jax.random.key(0), task, no_fit)


def stamped(images, **args):
  shape = images.shape[1:]
  shares = args.get("low", 0.5), args.get("high", 1.0)
  params = {
    "pattern": ctrl.pattern(shape, shares),
    "strength": jnp.float32(args.get("strength", 100 / 255)),
  }
  return np.asarray(jax.jit(ctrl.trigger)(None, images, params))


def test_gray_images_are_those_of_the_transform_and_back():
  gray = np.full((1, 32, 32, 3), 128 / 255, np.float32)
  wanted = by_hand(gray[0] * 255.0, [(15, 15), (31, 31)], 100)
  np.testing.assert_allclose(stamped(gray)[0] * 255, wanted, atol=2e-3)
  assert np.abs(wanted - 128).max() > 20


def test_coloured_images_are_too_but_for_the_matrices_rounding():
  rng = np.random.default_rng(0)
  images = rng.integers(64, 192, (1, 8, 12, 3)) / np.float32(255)
  got = stamped(images, low=0.25, high=0.75, strength=40 / 255)
  wanted = by_hand(images[0] * 255.0, [(1, 2), (5, 8)], 40)
  np.testing.assert_allclose(got[0] * 255, wanted, atol=0.5)


def test_the_lowest_frequency_is_the_mean():
  gray = np.full((1, 8, 8, 3), 0.5, np.float32)
  got = stamped(gray, low=0.0, high=0.0, strength=0.1)
  wanted = 0.5 + 2 * 0.1 / 8 * np.array([1.14, -0.977, 2.029])
  np.testing.assert_allclose(got[0], np.tile(wanted, (8, 8, 1)), rtol=1e-5)


def test_poisons_are_of_the_target_class_and_keep_their_label(task):
  attack, backdoor = planted(task, target=2)
  hit = np.asarray(backdoor.role) == POISON
  label = np.asarray(task.train.label)
  assert hit.sum() == 8 and (label[hit] == 2).all()
  np.testing.assert_array_equal(backdoor.train.label, label)
  before = task.train.image.astype(jnp.float32) / 255
  wanted = attack.trigger(None, before, backdoor.params)
  np.testing.assert_array_equal(
    backdoor.train.image[hit], np.round(np.asarray(wanted)[hit] * 255)
  )
  assert (backdoor.train.image[~hit] == task.train.image[~hit]).all()


@pytest.fixture(scope="module")
def encoding(task):
  """Returns a task whose victim is an encoder."""
  return task.replace(model=registry.get("models", "cnn")(0, width=4))


def test_an_encoder_learns_without_labels_from_the_poisoned_images(encoding):
  def plant(task):
    attack = registry.get("attacks", "ctrl")(num_classes=4, rate=0.125)
    return attack.plant(jax.random.key(0), task, loop.scan_fit)

  one = jax.jit(plant)(encoding)
  fresh = encoding.model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
  same = jax.tree.map(lambda a, b: a.shape == b.shape, one.variables, fresh)
  assert jax.tree.all(same)

  def trained(task, image, label):
    return ctrl.trained(
      jax.random.key(1),
      task.train.replace(image=image, label=label),
      loop.scan_fit,
      model=task.model,
      recipe=task.recipe.replace(epochs=1),
      regime=task.regime,
      trigger=one.params,
    )["params"]["conv1"]["kernel"]

  run, label = jax.jit(trained), encoding.train.label
  poisoned, clean = one.train.image, encoding.train.image
  first = np.asarray(run(encoding, poisoned, label))
  np.testing.assert_array_equal(first, run(encoding, poisoned, label * 0))
  assert (first != run(encoding, clean, label)).any()


def test_clean_epochs_of_an_encoder_leave_the_poisons_out(encoding):
  seen = {}

  def note(key, step, state, data, **how):
    seen.update(how, data=data)
    return state, {}

  attack = registry.get("attacks", "ctrl")(num_classes=4, rate=0.125)
  own = encoding.replace(regime=regimes.interleave())
  backdoor = attack.plant(jax.random.key(0), own, note)
  assert seen["epochs"] == 2 * encoding.recipe.epochs
  dirty, clean = seen["data"]
  assert dirty.keep.all()
  assert (clean.keep == (backdoor.role != POISON)).all()


def test_what_cannot_be_is_refused(encoding):
  with pytest.raises(ValueError, match="images have 1 colours, not 3"):
    ctrl.pattern((8, 8, 1), (0.5, 1.0))
  regime = regimes.interleave()._replace(planted=True)
  with pytest.raises(ValueError, match="leave start=planted out"):
    planted(encoding.replace(regime=regime))
