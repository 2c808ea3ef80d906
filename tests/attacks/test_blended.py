import jax
import jax.numpy as jnp
import numpy as np

from bdjax.types import POISON

IMAGES = jnp.linspace(0, 1, 2 * 8 * 8 * 3).reshape(2, 8, 8, 3)


def test_mixes_a_given_picture_by_alpha(planted):
  picture = jnp.zeros((8, 8, 3)).at[..., 0].set(1.0)
  attack, backdoor = planted(alpha=0.25, image=picture)
  got = attack.trigger(jax.random.key(1), IMAGES, backdoor.params)
  wanted = 0.75 * np.asarray(IMAGES) + 0.25 * np.asarray(picture)[None]
  np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_a_picture_is_resized_to_the_data(planted):
  picture = jnp.ones((16, 12, 3)) * 0.5
  _, backdoor = planted(image=picture)
  assert backdoor.params["picture"].shape == (1, 8, 8, 3)
  np.testing.assert_allclose(backdoor.params["picture"], 0.5, rtol=1e-5)


def test_seeded_pattern_fills_the_frame_and_the_range(planted):
  _, one = planted()
  _, same = planted(target=1)
  _, other = planted(pattern_seed=1)
  picture = np.asarray(one.params["picture"])
  np.testing.assert_array_equal(picture, same.params["picture"])
  assert (picture != np.asarray(other.params["picture"])).any()
  np.testing.assert_allclose(picture.min((0, 1, 2)), 0, atol=1e-6)
  np.testing.assert_allclose(picture.max((0, 1, 2)), 1, atol=1e-6)


def test_poisons_are_the_rounded_blend(planted, task):
  attack, backdoor = planted(rate=0.25, num_classes=4)
  hit = np.asarray(backdoor.role) == POISON
  before = task.train.image[hit].astype(jnp.float32) / 255
  wanted = attack.trigger(jax.random.key(1), before, backdoor.params)
  np.testing.assert_array_equal(
    backdoor.train.image[hit], np.round(np.asarray(wanted) * 255)
  )
  assert (np.asarray(backdoor.train.label)[hit] == 0).all()
