import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.defenses.parts import descent


def lost(images, weights, target):
  """Returns the mean cross-entropy of a linear model, and its logits."""
  logits = np.clip(images, 0, 1).reshape(len(images), -1) @ weights
  logits -= logits.max(-1, keepdims=True)
  logp = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  return -logp[np.arange(len(images)), target].mean(), logits


@pytest.mark.parametrize(("radius", "taken"), [(0.5, 3), (1.0, 2)])
def test_images_are_those_of_numeric_slopes(radius, taken):
  rng = np.random.default_rng(1)
  images, weights = rng.random((5, 2, 2, 1)), rng.normal(size=(4, 3))
  images[0] = images[0].round()
  target = np.argsort(lost(images, weights, np.zeros(5, int))[1])[:, -2]
  delta, steps = np.zeros(images.shape), 0
  for _ in range(3):
    now = lost(images + delta, weights, target)[1].argmax(-1)
    if (now == target).sum() > 3:  # more than .6 of 5
      break
    slope = np.zeros(delta.shape)
    for place in np.ndindex(delta.shape):
      step = np.zeros(delta.shape)
      step[place] = 1e-6
      ends = (images + delta + sign * step for sign in (1, -1))
      high, low = (lost(end, weights, target)[0] for end in ends)
      slope[place] = (high - low) / 2e-6
    delta = delta - 0.3 * np.sign(slope.round(6))
    size = np.sqrt((delta**2).sum((1, 2, 3), keepdims=True))
    delta, steps = delta * np.minimum(1, radius / size), steps + 1
  assert steps == taken

  def answer(x):
    return x.reshape(5, 4) @ jnp.float32(weights)

  found = descent.targeted(
    answer,
    jnp.float32(images),
    jnp.asarray(target),
    radius=radius,
    step_size=0.3,
    steps=3,
    enough=0.6,
  )
  np.testing.assert_allclose(found, np.clip(images + delta, 0, 1), atol=1e-5)
