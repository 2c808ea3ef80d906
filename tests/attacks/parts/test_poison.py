import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.attacks.parts import poison, roles
from bdjax.attacks.parts.goals import Goal
from bdjax.types import CLEAN, COVER, POISON, Regime


def key():
  return jax.random.key(0)


def test_choose_draws_the_rounded_share():
  label = jnp.arange(1000) % 10
  role = roles.choose(key(), label, 0.1)
  assert int((role == POISON).sum()) == 100
  assert int((role == CLEAN).sum()) == 900
  assert role.dtype == jnp.int8
  other = roles.choose(jax.random.key(1), label, 0.1)
  assert (role != other).any()


def test_choose_only_among_candidates():
  label = jnp.arange(1000) % 10
  role = roles.choose(key(), label, 0.05, only=label == 3)
  assert int((role == POISON).sum()) == 50
  assert (label[role == POISON] == 3).all()


def test_choose_takes_a_traced_rate():
  label = jnp.zeros(100, jnp.int32)
  count = jax.vmap(lambda r: (roles.choose(key(), label, r) == POISON).sum())
  assert count(jnp.array([0.1, 0.25])).tolist() == [10, 25]


def test_to_bytes_rounds_and_clips():
  image = jnp.array([-1.0, 0.0, 0.5 / 255, 0.6 / 255, 1.0, 2.0])
  assert poison.to_bytes(image).tolist() == [0, 0, 0, 1, 255, 255]


def test_freeze_changes_poisons_only(toy):
  role = roles.choose(key(), toy.label, 0.25)
  got = poison.freeze(
    key(),
    toy,
    role,
    trigger=lambda key, x: 1 - x,
    target=Goal(1),
  )
  hit = np.asarray(role) == POISON
  before = np.asarray(toy.image)
  np.testing.assert_array_equal(got.image[~hit], before[~hit])
  np.testing.assert_array_equal(got.image[hit], 255 - before[hit])
  assert (got.label[hit] == 1).all()
  np.testing.assert_array_equal(got.label[~hit], toy.label[~hit])


@pytest.mark.parametrize(
  ("role", "stamp"),
  [
    (jnp.zeros(63, jnp.int8), lambda key, x: x),
    (jnp.zeros(64, bool), lambda key, x: x),
    (jnp.zeros(64, jnp.int8), lambda key, x: x[..., :1]),  # would be broadcast
    (jnp.zeros(64, jnp.int8), lambda key, x: x.mean(0)),
  ],
)
def test_freeze_refuses_what_is_no_role_or_no_trigger(toy, role, stamp):
  with pytest.raises(AssertionError):
    poison.freeze(key(), toy, role, trigger=stamp, target=Goal(1))


def test_no_image_is_its_own_neighbour_in_the_last_part(toy, monkeypatch):
  def stamp(key, x):
    return jnp.roll(x, -1, axis=0)

  monkeypatch.setattr(poison, "PART", 9)  # 64 = 7 * 9 + 1
  role = roles.choose(key(), toy.label, 1.0)
  hit = poison.freeze(key(), toy, role, trigger=stamp, target=Goal(1))
  np.testing.assert_array_equal(hit.image[63], toy.image[0])


def test_freezing_in_parts_changes_nothing(toy, monkeypatch):
  def stamp(key, x):
    return 1 - x

  role = roles.choose(key(), toy.label, 0.5)
  args = {"trigger": stamp, "target": Goal(1)}
  whole = poison.freeze(key(), toy, role, **args)
  monkeypatch.setattr(poison, "PART", 10)  # 64 images: the last part is short
  parts = poison.freeze(key(), toy, role, **args)
  assert (whole.image == parts.image).all()


def test_regimes_decide_what_epochs_show(toy):
  epochs_of, role = poison.epochs_of, roles.choose(key(), toy.label, 0.25)
  train = toy.replace(label=jnp.zeros_like(toy.label))
  plain = epochs_of(key(), train, toy, role, Regime())
  assert plain is train
  dirty, clean = poison.epochs_of(
    key, train, toy, role, Regime(interleave=True)
  )
  assert dirty.keep.all() and (dirty.label == 0).all()
  assert clean.keep.tolist() == (role == CLEAN).tolist()
  regime = Regime(interleave=True, original=True)
  dirty, clean = epochs_of(key(), train, toy, role, regime)
  assert clean.keep.all() and (clean.label == toy.label).all()


def brighten(key, images, params):
  del key
  return images + params


def darken(key, images, params):
  del key
  return images - params


def clean_label_attack(rate):
  return poison.data_poisoning(
    lambda key, task, fit: jnp.full((1, 1, 1, 1), 0.15),
    brighten,
    Goal(2),
    rate,
    stamp=darken,
    clean_label=True,
  )


def test_clean_label_stamps_the_target_class_and_keeps_labels(task, no_fit):
  got = clean_label_attack(0.125).plant(key(), task, no_fit)
  hit = np.asarray(got.role) == POISON
  assert hit.sum() == 8
  assert (got.train.label == task.train.label).all()
  assert (np.asarray(task.train.label)[hit] == 2).all()
  before = np.asarray(task.train.image).astype(float)
  wanted = np.round(np.clip(before / 255 - 0.15, 0, 1) * 255)
  np.testing.assert_array_equal(got.train.image[hit], wanted[hit])
  np.testing.assert_array_equal(got.train.image[~hit], before[~hit])


def test_clean_label_needs_enough_of_the_target_class(task, no_fit):
  with pytest.raises(ValueError, match="asks for 32 images .* has 16: .* 0.25"):
    clean_label_attack(0.5).plant(key(), task, no_fit)


def test_a_trigger_of_training_control_is_frozen_into_a_copy(task):
  params = jnp.full((1, 1, 1, 1), 1.0)
  copies = poison.Copies(brighten, Goal(mode="all2all", num_classes=4), 0.25)
  got = copies.backdoor([key()], task, {"w": jnp.zeros(1)}, params)
  hit = np.asarray(got.role) == POISON
  assert hit.sum() == 16
  assert (np.asarray(got.train.image)[hit] == 255).all()
  np.testing.assert_array_equal(
    got.train.label[hit], (np.asarray(task.train.label)[hit] + 1) % 4
  )
  np.testing.assert_array_equal(got.train.image[~hit], task.train.image[~hit])


def test_cover_images_are_stamped_and_keep_their_label(task):
  params = jnp.full((1, 1, 1, 1), 1.0)
  copies = poison.Copies(darken, Goal(0), 0.25)
  one = copies.backdoor([key()], task, {}, params)
  copies = copies._replace(cover=brighten, cover_rate=0.125)
  got = copies.backdoor([key(), jax.random.key(1)], task, {}, params)
  role, before = np.asarray(got.role), np.asarray(one.role)
  assert (role == COVER).sum() == 8
  assert (before[role == COVER] == CLEAN).all()
  assert ((role == POISON) == (before == POISON)).all()
  image = np.asarray(got.train.image)
  assert (image[role == COVER] == 255).all()
  assert (image[role == POISON] == 0).all()
  np.testing.assert_array_equal(got.train.label, one.train.label)
  np.testing.assert_array_equal(
    image[role == CLEAN], np.asarray(task.train.image)[role == CLEAN]
  )
