"""Implicit gradients: through the solution of an inner problem.

The inner solution is a fixed point of a step towards it, so that the implicit
function theorem gives its derivative; the inverse in it becomes a short series
(Grazzi et al., "On the Iteration Complexity of Hypergradient Computation",
arXiv 2006.16218).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from bdjax.types import Array, Params


def hypergradient(
  outer: Callable[[Array, Params], tuple[Array, Array]],
  towards: Callable[[Array, Params], Array],
  inner: Array,
  params: Params,
  *,
  terms: int,
) -> tuple[tuple[Array, Array], Params]:
  """Returns the outer objective and its gradient through the inner solution.

  Args:
    outer: (inner, params) -> (objective, anything).
    towards: (inner, params) -> inner, a step of the inner problem, of which
      the inner solution is the fixed point.
    inner: the solution, approximately.
    params: what the gradient is taken with respect to.
    terms: of the series that stands for the inverse; at least 1.

  Returns:
    What `outer` returns, and the gradient, shaped as `params`.
  """
  value, (by_inner, by_params) = jax.value_and_grad(
    outer, (0, 1), has_aux=True
  )(inner, params)
  _, pull = jax.vjp(towards, inner, params)

  def further(v, _):
    return pull(v)[0] + by_inner, None

  v, _ = jax.lax.scan(further, by_inner, None, length=terms - 1)
  return value, jax.tree.map(jnp.add, by_params, pull(v)[1])
