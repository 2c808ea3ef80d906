import functools

import jax
import jax.numpy as jnp
import numpy as np

from bdjax.attacks.parts import universal


def frames(*shape, low=0.0, high=1.0):
  rng = np.random.default_rng(0)
  return jnp.asarray(rng.uniform(low, high, shape), jnp.float32)


def bright(images):
  """Says class 1 where the mean is above one half, else class 0."""
  score = 40 * (images.mean((1, 2, 3)) - 0.5)
  return jnp.stack([jnp.zeros_like(score), score], -1)


def merge(v, push):
  """Adds the push and caps the length at 3."""
  total = v + push
  return total * jnp.minimum(1, 3 / jnp.linalg.norm(total))


def test_deepfool_reaches_a_linear_boundary_in_one_step():
  weights = frames(2, 2 * 2 * 1, low=-1.0)
  start = frames(2, 2, 1)

  def logits(x):
    return x.reshape(len(x), -1) @ weights.T

  z = logits(start[None])[0]
  now, wanted = int(z.argmax()), int(z.argmin())
  find = jax.jit(
    functools.partial(universal.deepfool, logits=logits, iterations=9)
  )
  push = find(start, jnp.int32(wanted))
  slope = np.asarray(weights[wanted] - weights[now])
  gap = float(z[now] - z[wanted]) + 1e-4
  step = (1.02 * gap / (slope**2).sum() * slope).reshape(2, 2, 1)
  np.testing.assert_allclose(push, step, rtol=1e-4)
  assert int(logits((start + push)[None])[0].argmax()) == wanted
  assert (find(start, jnp.int32(wanted), skip=True) == 0).all()


def bright_search(images, passes, fooled):
  return jax.jit(
    functools.partial(
      universal.search,
      logits=bright,
      merge=merge,
      passes=passes,
      iterations=20,
      fooled=fooled,
    )
  )(jax.random.key(1), images, jnp.ones(len(images), jnp.int32))


def test_search_fools_dark_images_into_bright_ones():
  images = frames(10, 8, 8, 3, low=0.3, high=0.6)
  v = bright_search(images, passes=50, fooled=0.2)
  assert jnp.linalg.norm(v) <= 3 * (1 + 1e-5)
  assert (images.mean((1, 2, 3)) < 0.5).all()
  assert float((images + v[None]).mean((1, 2, 3)).min()) > 0.5
  # the first pass was enough, so the others never ran
  np.testing.assert_array_equal(v, bright_search(images, 1, 0.2))


def test_search_ends_when_five_shares_are_alike():
  images = frames(4, 8, 8, 3, low=0.0, high=0.1)  # no push makes them bright
  four, five, all_ = (bright_search(images, n, 0.2) for n in (4, 5, 50))
  assert (four != five).any()
  np.testing.assert_array_equal(five, all_)
