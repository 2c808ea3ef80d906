import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.attacks.parts import levels
from bdjax.methods import registry
from bdjax.types import POISON


def normalized(*, mean, std):
  return types.SimpleNamespace(mean=mean, std=std)


def test_a_peer_cuts_levels_off():
  level = jnp.array([-1.0, 0.4, 0.6, 3.0, 6.99, 254.9, 256.0])
  images = level.reshape(1, 1, -1, 1) / 255
  for compat, wanted in (
    ("paper", level),
    ("backdoorbench", [0, 0, 0, 3, 6, 254, 255]),
  ):
    kept = levels.kept(lambda key, images, params: images, compat)
    np.testing.assert_allclose(
      kept(None, images, {})[0, 0, :, 0] * 255, wanted, atol=1e-4
    )


def test_a_peer_loses_whole_levels_on_the_way_through_normalized_space():
  cifar10 = normalized(mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.243, 0.261))
  lost = levels.lost(cifar10, "backdoorbench")
  # PyTorch 2.13: Normalize, its inverse, mul(255).byte() of all 256 levels.
  assert lost["lost"].sum(0).tolist() == [68, 40, 48]
  level = jnp.broadcast_to(jnp.arange(256.0)[:, None], (256, 3))
  kept = levels.kept(lambda key, images, params: images, "backdoorbench")
  got = jax.jit(kept)(None, level[None, None] / 255, lost)[0, 0] * 255
  np.testing.assert_allclose(got, level - lost["lost"], atol=1e-3)
  assert levels.lost(cifar10, "paper") == {}
  plain = normalized(mean=(0.0,), std=(1.0,))
  assert not levels.lost(plain, "backdoorbench")["lost"].any()


@pytest.mark.parametrize(
  ("name", "args"),
  [
    ("blended", {}),
    ("sig", {"frequency": 1}),
    ("lf", {"source": "noise"}),
    ("wanet", {}),
  ],
)
def test_as_the_peer_poisons_are_cut_and_not_rounded(task, no_fit, name, args):
  def planted(compat):
    make = registry.get("attacks", name)
    attack = make(rate=0.25, num_classes=4, compat=compat, **args)
    return attack, attack.plant(jax.random.key(0), task, no_fit)

  task = task.replace(model=task.model.clone(mean=(0.0,) * 3, std=(1.0,) * 3))
  (attack, rounded), (_, cut) = map(planted, ("paper", "backdoorbench"))
  hit = np.asarray(rounded.role) == POISON
  before = task.train.image[hit].astype(jnp.float32) / 255
  level = 255 * np.asarray(
    attack.trigger(jax.random.key(0), before, rounded.params)
  )
  assert (abs(level - level.round()) > 1e-3).mean() > 0.4
  np.testing.assert_array_equal(cut.train.image[hit], np.floor(level + 1e-3))
  np.testing.assert_array_equal(rounded.train.image[hit], level.round())
