import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.methods import registry
from bdjax.training import inference
from bdjax.types import Access, Dataset

strip = registry.module("defenses", "strip")


class Threshold:
  """Says how bright an image is: even odds at gray, certain of a trigger."""

  def apply(self, variables, images, train):
    assert not train
    bright = images.mean((1, 2, 3)) - 0.5
    certain = 100.0 * (images[:, 0, 0, 0] > 0.99)
    logit = variables["slope"] * bright + certain
    return jnp.stack([logit, jnp.zeros_like(logit)], -1), {}


def gray(*levels):
  image = np.ones((len(levels), 4, 4, 3)) * np.reshape(levels, (-1, 1, 1, 1))
  return jnp.asarray(image, jnp.float32)


def access_to(*levels):
  image = jnp.round(gray(*levels) * 255).astype(jnp.uint8)
  clean = Dataset(image, jnp.zeros(len(levels), jnp.int32))
  return Access({"slope": jnp.float32(4.0)}, clean, model=Threshold())


def bits(p):
  return -p * np.log2(p) - (1 - p) * np.log2(1 - p)


def test_entropy_is_in_bits():
  logits = jnp.log(jnp.asarray([[0.25] * 4, [0.5, 0.5, 1e-30, 1e-30]]))
  np.testing.assert_allclose(strip.entropy(logits), [2, 1], rtol=1e-5)
  assert strip.entropy(jnp.asarray([[1e4, 0.0]])) == 0


@pytest.mark.parametrize(
  ("mix", "alpha", "wanted"),
  [
    ("plain", 1.0, [1.3, 0.9]),  # .6 + .7 and .2 + .7
    ("saturated", 1.0, [1.0, 0.9]),
    ("saturated", 0.5, [0.95, 0.55]),
    ("centered", 1.0, [0.9, 0.5]),  # the overlay less the mean, .4
    ("blend", 0.25, [0.625, 0.325]),
  ],
)
def test_superimposes(mix, alpha, wanted):
  mixed = strip.superimpose(
    gray(0.6, 0.2), gray(0.7)[0], jnp.full(3, 0.4), alpha=alpha, mix=mix
  )
  np.testing.assert_allclose(mixed, gray(*wanted), rtol=1e-6)


def test_score_is_minus_the_mean_entropy_over_the_overlays():
  access = access_to(*([0.2] * 10))
  defense = strip.make(count=8, mix="blend", alpha=0.5)
  state = defense.defend(jax.random.key(0), access, None)
  assert state.variables is access.variables
  assert state.memo["overlays"].image.shape == (8, 4, 4, 3)
  found = defense.suspect(None, gray(0.8, 0.4), access, state)
  p = 1 / (1 + np.exp(-4 * (np.asarray([0.5, 0.3]) - 0.5)))
  np.testing.assert_allclose(found, -bits(p), rtol=1e-5)


def test_certainty_whatever_lies_over_the_trigger_is_suspicious():
  access = access_to(*np.linspace(0, 0.4, 40))
  defense = strip.make(count=10)
  state = defense.defend(jax.random.key(0), access, None)
  hit = gray(0.5).at[:, 0, 0].set(1)
  clean, hit = defense.suspect(
    None, jnp.concatenate([gray(0.5), hit]), access, state
  )
  assert clean < -0.5 and hit > -1e-6
  assert hit > state.memo["threshold"]


def test_threshold_passes_the_wanted_share_of_images_that_are_no_overlays():
  levels = np.arange(40) / 100
  access = access_to(*levels)
  defense = strip.make(count=20, false_alarms=0.25)
  state = defense.defend(jax.random.key(0), access, None)
  drawn = np.asarray(state.memo["overlays"].image)[:, 0, 0, 0]
  images = np.asarray(access.clean.image)
  held = np.isin(images[:, 0, 0, 0], drawn, invert=True)
  assert held.sum() == 20  # 20 overlays without repetition, 20 others
  mean = images[~held].mean((0, 1, 2)) / 255
  np.testing.assert_allclose(state.memo["mean"], mean, rtol=1e-5)
  score = defense.suspect(None, images[held] / np.float32(255), access, state)
  assert (score > state.memo["threshold"]).sum() == 5
  np.testing.assert_allclose(state.memo["entropy"], -score.mean(), rtol=1e-5)


def test_more_overlays_than_images_repeat():
  access = access_to(*np.arange(6) / 10)
  state = strip.make(count=7).defend(jax.random.key(0), access, None)
  drawn = np.asarray(state.memo["overlays"].image)[:, 0, 0, 0].tolist()
  assert len(drawn) == 7 and len(set(drawn)) == 3


def test_a_models_answers_do_not_change(suspect):
  defense = strip.make(count=3)
  state = defense.defend(jax.random.key(0), suspect, None)
  images = suspect.clean.image[:5] / jnp.float32(255)
  said = defense.predict(None, images, suspect, state)
  kept = inference.each(
    jax.tree.map(lambda x: x[:5], suspect.clean),
    lambda b: suspect.model.apply(suspect.variables, b.image, train=False)[0],
  )
  np.testing.assert_allclose(said, kept, rtol=1e-5, atol=1e-6)


def test_a_blend_of_overlays_alone_is_refused():
  with pytest.raises(ValueError, match=r"strip\.alpha is 1.0, but a blend"):
    strip.make(mix="blend")
