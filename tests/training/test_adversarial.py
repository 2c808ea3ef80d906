import jax.numpy as jnp
import numpy as np

from bdjax.training import adversarial


def test_the_likeliest_wrong_class():
  logits = jnp.asarray([[3.0, 1, 2], [-20, -30, -40], [1, 5, 2]])
  found = adversarial.likeliest_wrong(logits, jnp.array([0, 0, 2]))
  assert found.tolist() == [2, 1, 1]


def test_perturbations_are_shortened_one_by_one():
  delta = jnp.stack([jnp.full((2, 2, 1), 0.5), jnp.full((2, 2, 1), 3.0)])
  found = adversarial.shortened(
    delta.at[0].set(0.25), 1.5
  )  # of lengths .5 and 6
  np.testing.assert_allclose(found[0], 0.25, rtol=1e-6)
  np.testing.assert_allclose(found[1], 0.75, rtol=1e-6)
  assert (adversarial.shortened(0 * delta, 1.5) == 0).all()


def test_what_speaks_against_classes_by_hand():
  """Of (1, 3) the probabilities are a quarter and three quarters."""
  logits = jnp.log(jnp.asarray([[1.0, 3.0], [1.0, 1.0]]))
  found = adversarial.against(logits, jnp.array([1, 0]))
  expected = -(np.log(1.0001 - 0.75) + np.log(1.0001 - 0.5)) / 2
  np.testing.assert_allclose(found, expected, rtol=1e-5)
