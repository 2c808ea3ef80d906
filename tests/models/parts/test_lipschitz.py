import jax.numpy as jnp
import numpy as np

from bdjax.models.parts import lipschitz
from bdjax.models.parts.pairs import Pair


def test_the_bound_is_the_largest_singular_value_times_the_gain():
  rng = np.random.default_rng(0)
  kernel = rng.normal(size=(3, 3, 5, 4)).astype(np.float32)
  scale, var = np.array([1.0, -2.0, 0.5, 0.0]), np.array([4.0, 1.0, 0.25, 0.0])
  variables = {
    "params": {"c": {"kernel": kernel}, "n": {"scale": scale}},
    "batch_stats": {"n": {"var": var}},
  }
  got = lipschitz.bound(variables, Pair("c", "n"))
  matrix = [kernel[..., k].reshape(9, 5).T for k in range(4)]
  sigma = np.array([np.linalg.svd(m)[1].max() for m in matrix])
  wanted = sigma * np.array([0.5, 2.0, 1.0, 0.0])
  np.testing.assert_allclose(got, wanted, rtol=1e-4)


def test_outliers_exceed_the_mean_by_unbiased_deviations():
  values = jnp.array([1.0, 1.0, 1.0, 5.0])  # mean 2, deviation 2 (biased 1.73)
  assert lipschitz.outliers(values, 1.45).tolist() == [
    False,
    False,
    False,
    True,
  ]
  assert lipschitz.outliers(values, 1.55).tolist() == [False] * 4
