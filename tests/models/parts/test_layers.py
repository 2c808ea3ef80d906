import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from bdjax.models.parts import layers


def normalized(x, steps=1, **options):
  """Returns batch norm's output on x, and its statistics after some steps."""
  norm = layers.batch_norm(True, name=None, dtype="float32", **options)
  variables = norm.init(jax.random.key(0), x)
  for _ in range(steps):
    y, new = norm.apply(variables, x, mutable=["batch_stats"])
    variables |= new
  return y, variables["batch_stats"]


def test_running_variance_is_unbiased_and_a_batchs_own_is_not():
  # Two images of 1 x 2 pixels: n = 4, and squares about the mean 3 sum to 20.
  x = jnp.array([0.0, 2, 4, 6]).reshape(2, 1, 2, 1)
  y, stats = normalized(x)
  np.testing.assert_allclose(stats["mean"], 0.1 * 3, rtol=1e-6)
  np.testing.assert_allclose(stats["var"], 0.9 + 0.1 * 20 / 3, rtol=1e-6)
  np.testing.assert_allclose(y, (x - 3) / (5 + 1e-5) ** 0.5, rtol=1e-6)


def test_running_variance_forgets_what_it_started_from():
  x = jnp.array([0.0, 2, 4, 6]).reshape(4, 1)
  _, stats = normalized(x, steps=30, momentum=0.5)
  np.testing.assert_allclose(stats["var"], 20 / 3, rtol=1e-6)


def test_one_value_per_channel_has_a_finite_variance():
  _, stats = normalized(jnp.ones((1, 3)))
  np.testing.assert_allclose(stats["var"], [0.9] * 3, rtol=1e-6)


def test_initial_and_applied_statistics_stay():
  x = jnp.array([0.0, 2, 4, 6]).reshape(4, 1)
  norm = layers.batch_norm(False, name=None, dtype="float32")
  variables = layers.batch_norm(True, name=None, dtype="float32").init(
    jax.random.key(0), x
  )
  assert variables["batch_stats"]["var"].tolist() == [1.0]
  y, new = norm.apply(variables, x, mutable=["batch_stats"])
  assert new["batch_stats"]["var"].tolist() == [1.0]
  np.testing.assert_allclose(y, x, rtol=1e-5)


def test_members_of_a_sweep_count_their_own_values():
  x = jnp.array([0.0, 2, 4, 6]).reshape(4, 1)
  both = jax.vmap(lambda x: normalized(x)[1]["var"])(jnp.stack([x, 2 * x]))
  wanted = [[0.9 + 0.1 * 20 / 3], [0.9 + 0.1 * 80 / 3]]
  np.testing.assert_allclose(both, wanted, rtol=1e-6)


def test_shards_of_a_batch_count_as_one():
  mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
  x = jnp.array([0.0, 2, 4, 6]).reshape(4, 1)
  split = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
  var = jax.jit(lambda x: normalized(x)[1]["var"])(split)
  np.testing.assert_allclose(var, 0.9 + 0.1 * 20 / 3, rtol=1e-6)
