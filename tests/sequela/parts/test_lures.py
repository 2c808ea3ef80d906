"""Which triggered images are drawn, and what counts as a success."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from bdjax.sequela.parts import lures
from bdjax.types import Dataset


class Brightness(nn.Module):
  """Says class 1 of images whose first pixel is above a half."""

  @nn.compact
  def __call__(self, x, train=False):
    level = x[:, 0, 0, 0] - self.param("level", nn.initializers.zeros, ())
    return jnp.stack([0.5 - level, level - 0.5], -1), {}


def at(level):
  return {"params": {"level": jnp.float32(level)}}


def data(pixels, label):
  image = jnp.asarray(pixels, jnp.uint8)[:, None, None, None]
  image = jnp.tile(image, (1, 1, 1, 3))
  return Dataset(image, jnp.asarray(label, jnp.int32))


def test_lures_are_drawn_from_other_classes_each_once():
  label = jnp.arange(12) % 3
  clean, lure = data(range(12), label), data(range(12), [1] * 12)
  for seed in range(3):
    rows = lures.chosen(jax.random.key(seed), clean, lure, 8)
    assert sorted(rows.tolist()) == [0, 2, 3, 5, 6, 8, 9, 11]
  some = [
    lures.chosen(jax.random.key(seed), clean, lure, 3).tolist()
    for seed in (0, 0, 1)
  ]
  assert some[0] == some[1] != some[2]
  with pytest.raises(ValueError, match="9 triggered images .* has 8 of"):
    lures.chosen(jax.random.key(0), clean, lure, 9)


def test_rates_are_of_images_that_the_trigger_should_change():
  test = data([0, 0, 100, 100, 255], [0, 0, 0, 0, 1])
  hit = data([0, 200, 100, 100, 255], [1, 1, 1, 1, 1])
  found = lures.rates(
    Brightness(), at(0), at(0.2), test, hit, lambda x: x + 0.25
  )
  # Above .5 with the trigger: 200. Pushed by .25 (64): 200, 100 and 100.
  # Without it: both of 100. Of the other model, above .7: 200 alone.
  assert {k: float(v) for k, v in found.items()} == {
    "asr_before": 0.25,
    "reactivated": 0.75,
    "untriggered": 0.5,
    "on_clean": 0.25,
  }


def test_images_are_submitted_in_8_bits():
  images, one = data([127], [0]), jnp.ones(1, bool)

  def rate(push, limit):
    model = at((limit - 127.5) / 255)  # says yes above so many of 255 levels
    return lures.rate(
      *(Brightness(), model, images, jnp.ones(1, int), one),
      lambda x: x + push / 255,
    )

  assert rate(0.4, 127.2) == 0  # 127.4 is above, but submitted as 127
  assert rate(0.6, 127.8) == 1  # 127.6 is below, but submitted as 128
