import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.attacks import wanet
from bdjax.attacks.parts import poison
from bdjax.methods import registry
from bdjax.training import learn
from bdjax.types import CLEAN, COVER, POISON, Batch, Regime

RNG = np.random.default_rng(0)
IMAGES = jnp.asarray(RNG.random((10, 8, 8, 3)), jnp.float32)
LABELS = jnp.arange(10) % 3 + 1
BATCH = Batch(IMAGES, LABELS, jnp.arange(10))


@pytest.fixture
def plant(task, monkeypatch):
  """Returns what plants without training, and tells what it trains on."""

  def planted(regime=Regime(), view=None, **args):
    seen = {}

    def note(key, data, fit, **how):
      seen.update(how, data=data)
      return {}

    monkeypatch.setattr(learn, "train_classifier", note)
    own = task.replace(regime=regime, view=view or task.view)
    attack = registry.get("attacks", "wanet")(**args)
    return attack, attack.plant(jax.random.key(0), own, None), seen

  return planted


def unchanged(key, batch):
  return batch


def test_no_strength_is_the_identity(plant):
  attack, backdoor, _ = plant(strength=0.0)
  got = attack.trigger(jax.random.key(1), IMAGES, backdoor.params)
  np.testing.assert_allclose(got, IMAGES, atol=1e-5)


def test_the_field_passes_through_its_points(plant):
  # With a point per pixel nothing is left to interpolate.
  _, backdoor, _ = plant(grid_size=8, strength=0.25, pattern_seed=3)
  coarse = np.asarray(
    jax.random.uniform(jax.random.key(3), (8, 8, 2), minval=-1.0)
  )
  line = np.linspace(-1, 1, 8)
  identity = np.stack(np.meshgrid(line, line), -1)
  wanted = identity + 0.25 * coarse / np.abs(coarse).mean() / 8
  np.testing.assert_allclose(
    backdoor.params["grid"][0], np.clip(wanted, -1, 1), atol=1e-6
  )


def test_the_warp_depends_on_its_own_seed_only(plant):
  _, one, _ = plant()
  _, same, _ = plant(target=1, rate=0.2)
  _, other, _ = plant(pattern_seed=1)
  assert one.params["grid"].shape == (1, 8, 8, 2)
  np.testing.assert_array_equal(one.params["grid"], same.params["grid"])
  assert (one.params["grid"] != other.params["grid"]).any()


def test_a_batch_is_poisoned_by_position(plant):
  attack, backdoor, seen = plant(rate=0.25, noise_rate=0.3, view=unchanged)
  (view,) = seen["view"]
  batch = view(jax.random.key(1), BATCH)
  assert batch.label.tolist() == [0, 0] + LABELS[2:].tolist()  # 2.5 -> 2, 3
  hit = attack.trigger(None, IMAGES, backdoor.params)
  np.testing.assert_allclose(batch.image[:2], hit[:2], atol=1e-6)
  np.testing.assert_array_equal(batch.image[5:], IMAGES[5:])
  for near in (IMAGES, hit):
    gap = jnp.abs(batch.image - near)[2:5].max((1, 2, 3))
    assert (gap > 0.01).all()


def test_noise_moves_less_than_its_share_of_a_pixel():
  ramp = jnp.broadcast_to(jnp.arange(8.0).reshape(1, 1, 8, 1), (3, 8, 8, 1))
  line = jnp.linspace(-1, 1, 8) * 0.5
  params = {"grid": jnp.stack(jnp.meshgrid(line, line), -1)[None]}
  gap = wanet.noisy(jax.random.key(1), ramp, params) - wanet.trigger(
    None, ramp, params
  )
  most = 1 / 8 / 2 * 7  # of the grid, in pixels
  assert 0.9 * most < jnp.abs(gap).max() <= most + 1e-5
  assert (gap[0] != gap[1]).any() and (gap < 0).any() and (gap > 0).any()


def test_clean_epochs_are_plain(plant):
  regime = Regime(interleave=True)
  _, _, seen = plant(regime=regime, view=unchanged)
  dirty, plain = seen["view"]
  assert (dirty(jax.random.key(1), BATCH).label == 0).sum() == 1
  assert plain is unchanged
  assert seen["data"].keep is None


def test_as_the_peer_a_batch_is_augmented_alike(plant):
  def view(key, batch):
    lift = jax.random.uniform(key, (batch.label.size, 1, 1, 1))
    return batch._replace(image=batch.image + lift)

  for compat, draws in (("paper", 10), ("backdoorbench", 1)):
    _, _, seen = plant(view=view, compat=compat, strength=0.0)
    (dirty,) = seen["view"]
    got = dirty(jax.random.key(1), BATCH).image[3:] - IMAGES[3:]
    lifts = np.unique(np.asarray(got[:, 0, 0, 0]).round(4))
    assert len(lifts) == min(draws, 7)


def test_the_audited_copy_has_backdoor_and_noise_images(plant, task):
  attack, backdoor, _ = plant(rate=0.25, noise_rate=0.5, num_classes=4)
  role, clean = np.asarray(backdoor.role), task.train
  assert np.bincount(role).tolist() == [16, 16, 32]
  label = np.asarray(clean.label)
  np.testing.assert_array_equal(
    backdoor.train.label, np.where(role == POISON, 0, label)
  )
  before = clean.image.astype(jnp.float32) / 255
  hit = poison.to_bytes(attack.trigger(None, before, backdoor.params))
  image, hit = np.asarray(backdoor.train.image), np.asarray(hit)
  same = (image == np.asarray(clean.image)).all((1, 2, 3))
  np.testing.assert_array_equal(same, role == CLEAN)
  assert np.abs(image.astype(int) - hit)[role == POISON].max() <= 1
  assert (image != hit)[role == COVER].any((1, 2, 3)).all()


def test_a_batch_too_small_for_a_backdoor_image_is_refused(plant):
  with pytest.raises(ValueError, match=r"rate 0\.05 .* batch of 16 must"):
    plant(rate=0.05)
