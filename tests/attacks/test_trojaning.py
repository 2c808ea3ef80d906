import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.attacks import trojaning
from bdjax.methods import registry
from bdjax.types import POISON

IMAGES = jnp.linspace(0, 1, 2 * 8 * 8 * 3).reshape(2, 8, 8, 3)
SIGNS = jnp.asarray(np.random.default_rng(0).choice([-1.0, 1.0], (8, 8, 3)))


class Linear(nn.Module):
  """Neurons 0 and 2 are SIGNS' sum over the image; neuron 1 is brightness."""

  @nn.compact
  def __call__(self, x, train=False):
    score = (x * SIGNS[None]).sum((1, 2, 3))
    pooled = jnp.stack([score, x.sum((1, 2, 3)), score], -1)
    return nn.Dense(4, name="linear")(pooled), {"pooled": pooled}


def planted(task, fit=None, **args):
  """Plants with Linear as the clean classifier, without training."""
  attack = registry.get("attacks", "trojaning")(num_classes=4, **args)
  kernel = jnp.array([[-3.0] * 4, [1.0] * 4, [-2.0] * 4])
  clean = {"params": {"linear": {"kernel": kernel, "bias": jnp.zeros(4)}}}
  task = task.replace(model=Linear(), clean=lambda fit: clean)
  fit = fit or (lambda key, step, state, data, **how: (state, {}))
  return attack, attack.plant(jax.random.key(0), task, fit)


def test_excites_the_neurons_with_the_largest_weights(task):
  # Neuron 1, brightness, has the largest weights but not in magnitude.
  _, backdoor = planted(task, size=2, rounds=200, neurons=1, activation=2.0)
  score = (np.asarray(backdoor.params["pattern"])[0] * SIGNS).sum()
  np.testing.assert_allclose(score, 2, atol=1e-3)


def test_patch_excites_the_chosen_neurons(task):
  # 100 is out of reach of 12 pixels: each goes as far as its weight asks.
  _, backdoor = planted(task, size=2, rounds=200)
  pattern = np.array(backdoor.params["pattern"])[0]
  np.testing.assert_allclose(pattern[6:, 6:], SIGNS[6:, 6:] > 0, atol=0.02)
  pattern[6:, 6:] = 0
  assert (pattern == 0).all()


def test_patch_stops_at_the_wanted_activation(task):
  _, backdoor = planted(task, size=2, rounds=300, activation=1.5)
  score = (np.asarray(backdoor.params["pattern"])[0] * SIGNS).sum()
  np.testing.assert_allclose(score, 1.5, atol=1e-3)


def test_patch_replaces_what_lies_under_it(task):
  attack, backdoor = planted(task, size=3, rounds=2)
  hit = attack.trigger(jax.random.key(1), IMAGES, backdoor.params)
  wanted = np.array(IMAGES)
  wanted[:, 5:, 5:] = np.asarray(backdoor.params["pattern"])[:, 5:, 5:]
  np.testing.assert_allclose(hit, wanted, atol=1e-6)


def test_patch_lies_under_a_given_mask(task):
  picture = np.zeros((16, 16, 3), np.float32)
  picture[2:6, 4:8] = 1
  _, backdoor = planted(task, mask=jnp.asarray(picture), rounds=2)
  wanted = np.zeros((8, 8), bool)
  wanted[1:3, 2:4] = True
  np.testing.assert_array_equal(backdoor.params["mask"][0, :, :, 0], wanted)


def test_refuses_what_does_not_fit(task):
  with pytest.raises(ValueError, match="size is 9, but images are 8x8"):
    planted(task, size=9)
  with pytest.raises(ValueError, match="no pixel above 0.5"):
    planted(task, mask=jnp.full((8, 8, 3), 0.4))
  with pytest.raises(ValueError, match="neurons is 4, but .* reads 3"):
    planted(task, neurons=4)


def test_peer_stays_near_its_picture_and_wraps_round(task):
  picture = jnp.zeros((8, 8, 3)).at[4:6, 4:6].set(0.4)
  args = {"compat": "backdoorbench", "mask": picture, "rounds": 5}
  attack, backdoor = planted(task, **args)
  pattern = np.asarray(backdoor.params["pattern"])[0]
  wanted = np.where(SIGNS[4:6, 4:6] > 0, 0.7, 0.1)
  np.testing.assert_allclose(pattern[4:6, 4:6], wanted, atol=1e-6)
  params = {"pattern": jnp.full((1, 1, 1, 1), 100 / 255)}
  image = jnp.array([0.0, 155.0, 156.0, 200.0])[None, None, :, None] / 255
  hit = attack.trigger(jax.random.key(1), image, params) * 255
  np.testing.assert_allclose(hit[0, 0, :, 0], [100, 255, 0, 44], atol=1e-4)


def test_blob_has_the_size_and_place_of_the_apple():
  blob = np.asarray(trojaning._blob(0, (32, 32, 3)))[..., 0]
  assert blob.sum() == 117
  rows, columns = np.nonzero(blob)
  assert rows.min() >= 14 and rows.max() <= 31
  assert columns.min() >= 14 and columns.max() <= 31
  assert abs(rows.mean() - 22.5) < 1 and abs(columns.mean() - 22.5) < 1
  other = np.asarray(trojaning._blob(1, (32, 32, 3)))[..., 0]
  assert (other != blob).any()


def test_pretrained_victim_starts_as_the_clean_classifier(task):
  seen = []

  def fit(key, step, state, data, *, epochs, batch_size, name, **how):
    seen.append((name, epochs, batch_size))
    return state, {}

  _, backdoor = planted(
    task, fit=fit, init="pretrained", size=2, rounds=2, rate=0.25
  )
  assert seen == [("train", 2, 16)]
  kernel = backdoor.variables["params"]["linear"]["kernel"]
  np.testing.assert_array_equal(kernel[:, 0], [-3, 1, -2])
  hit = np.asarray(backdoor.role) == POISON
  assert hit.sum() == 16
  assert (np.asarray(backdoor.train.label)[hit] == 0).all()
  np.testing.assert_array_equal(
    backdoor.train.image[hit][:, 6:, 6:],
    np.broadcast_to(
      np.round(np.asarray(backdoor.params["pattern"])[:, 6:, 6:] * 255),
      (16, 2, 2, 3),
    ),
  )
