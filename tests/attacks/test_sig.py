import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.attacks import sig
from bdjax.types import POISON

ARGS = {"num_classes": 4}
GRAY = jnp.full((2, 8, 8, 3), 0.5)


def test_two_waves_over_eight_columns(planted):
  attack, backdoor = planted(strength=0.1, frequency=2, rate=0.2)
  hit = attack.trigger(jax.random.key(1), GRAY, backdoor.params)
  columns = [0.5, 0.6, 0.5, 0.4, 0.5, 0.6, 0.5, 0.4]
  wanted = np.broadcast_to(np.array(columns)[None, None, :, None], GRAY.shape)
  np.testing.assert_allclose(hit, wanted, atol=1e-6)


@pytest.mark.parametrize("frequency", [4, 8, 12])
def test_a_wave_that_is_zero_everywhere_is_refused(planted, frequency):
  assert np.abs(sig.wave(8, frequency=frequency)).max() < 1e-6
  with pytest.raises(ValueError, match="8 columns .* give no multiple of 4"):
    planted(frequency=frequency, rate=0.2)


def test_the_published_wave_at_32_pixels():
  column = np.arange(32)
  np.testing.assert_allclose(
    sig.wave(32, frequency=6)[0, 0, :, 0],
    np.sin(2 * np.pi * column * 6 / 32),
    atol=1e-6,
  )


def test_poisons_only_the_target_class_and_keeps_labels(planted, task):
  args = {"target": 1, "strength": 0.3, "train_strength": 0.1}
  attack, backdoor = planted(rate=0.2, frequency=2, **args)
  hit = np.asarray(backdoor.role) == POISON
  assert hit.sum() == round(0.2 * 64)
  assert (np.asarray(task.train.label)[hit] == 1).all()
  np.testing.assert_array_equal(backdoor.train.label, task.train.label)
  np.testing.assert_array_equal(
    backdoor.train.image[~hit], task.train.image[~hit]
  )
  before = np.asarray(task.train.image)[hit].astype(float)
  crest = np.clip(before[:, :, 1] + 0.1 * 255, 0, 255)
  after = np.asarray(backdoor.train.image)[hit].astype(float)
  np.testing.assert_allclose(after[:, :, 1], crest, atol=0.51)
  assert attack.target(jnp.arange(4)).tolist() == [1, 1, 1, 1]
