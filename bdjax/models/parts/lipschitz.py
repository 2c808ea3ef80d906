"""How much a channel can stretch its input: the bound that CLP prunes by.

Zheng et al., arXiv 2208.03111. The bound of channel k of a convolution and the
batch norm after it is the largest singular value of its kernel, written as a
matrix [inputs, height * width], times |scale| / standard deviation, which here
includes batch norm's epsilon, as the network computes it.
"""

import jax.numpy as jnp
from flax import traverse_util

from bdjax.models.parts import pairs
from bdjax.types import Array, Params, Scalar

EPSILON = 1e-5  # batch norm's


def bound(variables: Params, pair: pairs.Pair) -> Array:
  """Returns the Lipschitz bound of each channel of a pair, [C]."""
  flat = traverse_util.flatten_dict(variables, sep="/")
  kernel = flat[f"params/{pair.conv}/kernel"]
  taps = kernel.reshape(-1, *kernel.shape[2:])
  gram = jnp.einsum("aio,bio->oab", taps, taps)
  largest = jnp.maximum(jnp.linalg.eigvalsh(gram)[:, -1], 0)
  var = flat[f"batch_stats/{pair.norm}/var"]
  scale = flat[f"params/{pair.norm}/scale"]
  return jnp.sqrt(largest) * jnp.abs(scale) / jnp.sqrt(var + EPSILON)


def outliers(values: Array, u: Scalar) -> Array:
  """Returns which values [C] exceed mean + u standard deviations (unbiased)."""
  return values > values.mean() + u * values.std(ddof=1)
