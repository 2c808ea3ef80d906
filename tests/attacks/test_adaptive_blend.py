import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.attacks import adaptive_blend
from bdjax.methods import registry
from bdjax.types import CLEAN, COVER, POISON

WHITE = jnp.ones((8, 8, 3))


def planted(task, **args):
  args = {"rate": 0.25, "cover_rate": 0.125, "num_classes": 4} | args
  attack = registry.get("attacks", "adaptive_blend")(**args)

  def no_fit(key, step, state, data, **how):
    return state, {}

  return attack, attack.plant(jax.random.key(0), task, no_fit)


def test_at_test_time_the_whole_picture_is_mixed_in(task):
  attack, backdoor = planted(task, alpha=0.25, image=WHITE)
  black = jnp.zeros((2, 8, 8, 3))
  got = attack.trigger(jax.random.key(1), black, backdoor.params)
  np.testing.assert_allclose(got, 0.25, rtol=1e-6)


def test_poisons_and_covers_have_half_of_the_pieces_each_its_own(task):
  attack, backdoor = planted(task, train_alpha=0.4, image=WHITE)
  role, before = np.asarray(backdoor.role), np.asarray(task.train.image)
  after = np.asarray(backdoor.train.image)
  assert np.bincount(role).tolist() == [40, 16, 8]
  np.testing.assert_array_equal(after[role == CLEAN], before[role == CLEAN])
  white = np.round(0.6 * before + 0.4 * 255)  # in pieces of 2 x 2 pixels
  hit = (after == white).all(-1).reshape(64, 4, 2, 4, 2).all((2, 4))
  rest = (after == before).all(-1).reshape(64, 4, 2, 4, 2).all((2, 4))
  touched = role != CLEAN
  assert (hit ^ rest)[touched].all()
  assert (hit[touched].sum((1, 2)) == 8).all()
  assert len(np.unique(hit[touched].reshape(24, 16), axis=0)) > 20


def test_only_poisons_change_their_label_and_covers_are_of_other_classes(task):
  _, backdoor = planted(task, target=2, cover_rate=0.5)
  role, label = np.asarray(backdoor.role), np.asarray(task.train.label)
  wanted = np.where(role == POISON, 2, label)
  np.testing.assert_array_equal(backdoor.train.label, wanted)
  assert (role == COVER).sum() == 32
  assert (label[role == COVER] != 2).all()


@pytest.mark.parametrize(("masked", "shown"), [(0, 16), (0.3, 11), (1, 0)])
def test_the_share_of_pieces_is_rounded(masked, shown):
  params = {
    "picture": jnp.ones((1, 4, 4, 1)),
    "train_alpha": jnp.float32(0.5),
    "masked": jnp.float32(masked),
    "piece": adaptive_blend._pieces(4, (4, 4, 1)),
  }
  black = jnp.zeros((3, 4, 4, 1))
  hit = adaptive_blend.in_pieces(jax.random.key(0), black, params, count=16)
  assert (hit == 0.5).sum((1, 2, 3)).tolist() == [shown] * 3


def test_pieces_tile_images_of_any_size():
  got = adaptive_blend._pieces(2, (2, 5, 3))
  assert got.tolist() == [[0, 0, 0, 1, 1], [2, 2, 2, 3, 3]]
  with pytest.raises(ValueError, match="grid is 9, but images are 8x16: .* 8"):
    adaptive_blend._pieces(9, (8, 16, 3))


def test_the_copy_is_the_same_again(task):
  attack, backdoor = planted(task)
  again = attack.poisoned(
    jax.random.key(0), task, backdoor.params, backdoor.role
  )
  np.testing.assert_array_equal(again.image, backdoor.train.image)
  np.testing.assert_array_equal(again.label, backdoor.train.label)


def test_more_covers_than_there_are_images_are_refused(task):
  # 64 images, 16 of the target class; 12 to 16 of the 48 others are poisons.
  with pytest.raises(
    ValueError, match=r"rate is 0\.8, which asks for 51 .* most"
  ):
    planted(task, cover_rate=0.8)
