import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.fft import dctn

from bdjax.attacks import lf
from bdjax.methods import registry
from bdjax.types import Dataset, Recipe, Task


class Bright(nn.Module):
  """Says class 1 where the mean is above one half, else class 0."""

  @nn.compact
  def __call__(self, x, train=False):
    bias = self.param("bias", nn.initializers.constant(-0.5), ())
    score = 40 * (x.mean((1, 2, 3)) + bias)
    return jnp.stack([jnp.zeros_like(score), score], -1), {"pooled": x}


def frames(*shape, low=0.0, high=1.0):
  rng = np.random.default_rng(0)
  return jnp.asarray(rng.uniform(low, high, shape), jnp.float32)


def big_task():
  data = Dataset(jnp.zeros((8, 32, 32, 3), jnp.uint8), jnp.arange(8) % 2)
  return Task(data, Bright(), Recipe(epochs=1, batch_size=4))


def test_low_pass_is_thirty_gaussian_taps_of_sigma_six():
  taps = np.exp(-(((np.arange(30) - 14.5) / 6) ** 2) / 2)
  taps /= taps.sum()
  dot = jnp.zeros((64, 70, 1)).at[30, 40, 0].set(1.0)
  wanted = np.zeros((64, 70))
  wanted[15:45, 25:55] = np.outer(taps, taps)
  np.testing.assert_allclose(lf.low_pass(dot)[..., 0], wanted, atol=1e-7)


def test_noise_has_its_energy_in_the_lowest_frequencies(planted):
  _, backdoor = planted(big_task(), source="noise", num_classes=2)
  pattern = np.asarray(backdoor.params["pattern"])[0]
  assert pattern.min() == 0
  np.testing.assert_allclose(pattern.max(), 0.2, rtol=1e-6)
  energy = dctn(pattern, axes=(0, 1), norm="ortho") ** 2
  energy[0, 0] = 0  # brightness
  assert energy[:6, :6].sum() > 0.99 * energy.sum()
  white = np.random.default_rng(0).normal(size=pattern.shape)
  energy = dctn(white, axes=(0, 1), norm="ortho") ** 2
  assert energy[:6, :6].sum() < 0.1 * energy.sum()


def test_noise_follows_its_seed_alone(planted):
  made = [
    planted(source="noise", num_classes=4, **args)[1].params["pattern"]
    for args in ({}, {"target": 1}, {"pattern_seed": 1})
  ]
  np.testing.assert_array_equal(made[0], made[1])
  assert (made[0] != made[2]).any()


def test_adds_a_given_picture_rescaled(planted):
  picture = frames(8, 8, 3, low=0.4, high=0.6)
  attack, backdoor = planted(image=picture, strength=0.5, num_classes=4)
  given = np.asarray(picture)
  v = 0.5 * (given - given.min()) / (given.max() - given.min())
  images = frames(2, 8, 8, 3)
  np.testing.assert_allclose(
    attack.trigger(jax.random.key(1), images, backdoor.params),
    np.clip(np.asarray(images) + v[None], 0, 1),
    atol=1e-6,
  )


def test_refuses_a_flat_picture():
  with pytest.raises(ValueError, match="lf.image has the same value every"):
    registry.get("attacks", "lf")(image=jnp.full((8, 8, 3), 0.3))


def test_says_when_all_is_the_target_already(planted, task):
  dark = Dataset(jnp.zeros((8, 8, 8, 3), jnp.uint8), jnp.arange(8) % 2)
  variables = {"params": {"bias": jnp.float32(-0.5)}}
  task = task.replace(train=dark, model=Bright(), clean=lambda fit: variables)
  with pytest.raises(ValueError, match="lf found no trigger"):
    planted(task, num_classes=2)
