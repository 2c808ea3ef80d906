import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.attacks import label_consistent
from bdjax.attacks.parts import adversarial
from bdjax.methods import registry
from bdjax.training import learn
from bdjax.types import POISON

EPS = 16 / 255


def no_fit(key, step, state, data, **how):
  return state, {}


@pytest.fixture(scope="module")
def known(task, toy):
  """Returns a task whose clean classifier is a drawn one."""
  variables = learn.init_variables(jax.random.key(7), toy, model=task.model)
  return task.replace(clean=lambda fit: variables)


def planted(task, **args):
  args = {"rounds": 3, "num_classes": 4, "rate": 0.1, "step": 0.03} | args
  attack = registry.get("attacks", "label_consistent")(**args)
  return attack, attack.plant(jax.random.key(0), task, no_fit)


def test_the_pattern_of_all_corners_is_that_of_the_authors():
  sign = np.asarray(label_consistent.pattern((8, 8, 3), "all"))[0, :, :, 0]
  rows = ["+--..--+", "-+-..-+-", "+-+..+-+"]
  assert ["".join(".+-"[int(x)] for x in row) for row in sign] == [
    *rows,
    "." * 8,
    "." * 8,
    *rows,
  ]


def test_a_single_corner_grows_with_the_image():
  sign = label_consistent.pattern((64, 64, 3), "bottom_right")[0, :, :, 0]
  assert (np.asarray(sign) != 0).sum() == 36
  cells = np.asarray(sign)[-6::2, -6::2]
  assert cells.tolist() == [[-1, -1, 1], [-1, 1, -1], [1, -1, 1]]
  assert (np.asarray(sign)[-5::2, -5::2] == cells).all()


def test_images_without_room_for_the_corners_are_refused():
  with pytest.raises(ValueError, match="3x3 pixels .* 5x9: .* of 6 pixels"):
    label_consistent.pattern((5, 9, 3), "all")


def test_full_strength_is_black_and_white_and_less_is_added():
  sign = label_consistent.pattern((6, 6, 1), "bottom_right")
  gray = jnp.full((1, 6, 6, 1), 0.5)
  for amplitude, levels in ((1.0, [0, 0.5, 1]), (0.125, [0.375, 0.5, 0.625])):
    params = {"sign": sign, "amplitude": jnp.float32(amplitude)}
    hit = label_consistent.trigger(None, gray, params)
    assert np.unique(hit).tolist() == levels


def test_poisons_are_hard_images_of_the_target_class_with_the_pattern(known):
  attack, backdoor = planted(known, target=2, rate=0.125)
  hit = np.asarray(backdoor.role) == POISON
  label, before = np.asarray(known.train.label), known.train.image
  assert hit.sum() == 8 and (label[hit] == 2).all()
  np.testing.assert_array_equal(backdoor.train.label, label)
  np.testing.assert_array_equal(backdoor.train.image[~hit], before[~hit])
  hard = adversarial.harder(
    known.model,
    backdoor.params["surrogate"],
    before[hit].astype(jnp.float32) / 255,
    known.train.label[hit],
    adversarial.Ascent(EPS, 0.03, 3),
  )
  wanted = attack.trigger(None, hard, backdoor.params)
  gap = np.round(np.asarray(wanted) * 255) - backdoor.train.image[hit]
  assert (np.abs(gap) <= 1).all() and (gap == 0).mean() > 0.99
  moved = np.asarray(hard) - np.asarray(before[hit]) / 255
  assert np.abs(moved).max() == pytest.approx(EPS, abs=1e-6)


def test_poisons_in_parts_are_the_same(known, monkeypatch):
  _, whole = planted(known, rate=0.125)
  monkeypatch.setattr(label_consistent, "PART", 3)  # 8 poisons: 3, 3 and 2
  _, parts = planted(known, rate=0.125)
  same = np.asarray(whole.train.image) == np.asarray(parts.train.image)
  assert same.mean() > 0.999


def test_the_copy_is_the_same_again(known):
  attack, backdoor = planted(known)
  again = attack.poisoned(
    jax.random.key(0), known, backdoor.params, backdoor.role
  )
  np.testing.assert_array_equal(again.image, backdoor.train.image)


def test_a_robust_surrogate_is_trained_for_the_purpose(task):
  stages = []

  def note(key, step, state, data, *, name, **how):
    stages.append(name)
    return state, {}

  for surrogate in ("clean", "robust"):
    attack = registry.get("attacks", "label_consistent")(
      rounds=1, num_classes=4, surrogate=surrogate
    )
    attack.plant(jax.random.key(0), task, note)
  assert stages == ["clean", "train", "robust", "train"]


def test_more_poisons_than_the_target_class_has_are_refused(known):
  with pytest.raises(ValueError, match="at most 0.25"):
    planted(known, rate=0.3)
