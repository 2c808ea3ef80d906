"""Adversarial backdoor injection: channels are kept from standing out.

Xu et al., "Towards Backdoor Stealthiness in Model Parameter Space", arXiv
2501.05928: a backdoor that few channels carry is found by what it
does to them, so that after each epoch of planting, in each layer, channels
whose Lipschitz bound (`models.parts.lipschitz`) exceeds mean + u standard
deviations get the layer's mean scale and mean bias in their batch norm.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util

from bdjax.machine.backend import exact
from bdjax.models.parts import lipschitz, pairs
from bdjax.types import Array, Params, Scalar


class Limited(NamedTuple):
  """State of an optimizer that limits channels."""

  inner: Any
  count: Array  # int32, steps so far


def limited(
  tx: optax.GradientTransformation,
  u: Scalar,
  *,
  every: int,
  adjacent: bool = False,
) -> optax.GradientTransformationExtraArgs:
  """Returns an optimizer each of whose epochs ends with a limit on channels.

  Its `update` needs `stats`, the model's other collections after the step,
  which `learn.advance` passes.

  Args:
    tx: takes the steps.
    u: standard deviations above a layer's mean from which a channel is limited.
    every: steps of an epoch.
    adjacent: see `pairs.find`.
  """
  tx = optax.with_extra_args_support(tx)

  def init(params):
    _check(params, pairs.find(params, adjacent=adjacent))
    return Limited(tx.init(params), jnp.zeros((), jnp.int32))

  def update(grads, state, params, *, stats, **extra):
    updates, inner = tx.update(grads, state.inner, params, **extra)
    count = state.count + 1

    def limit(updates):
      after = {"params": optax.apply_updates(params, updates), **stats}
      less = within(after, u, adjacent=adjacent)["params"]
      return jax.tree.map(jnp.subtract, less, params)

    updates = jax.lax.cond(count % every == 0, limit, lambda x: x, updates)
    return updates, Limited(inner, count)

  return optax.GradientTransformationExtraArgs(init, update)


@exact
def within(variables: Params, u: Scalar, *, adjacent: bool = False) -> Params:
  """Returns the variables with channels that stand out at their layer's mean.

  Args:
    u: standard deviations above a layer's mean from which a channel does.
    adjacent: see `pairs.find`.
  """
  flat = traverse_util.flatten_dict(variables["params"], sep="/")
  changed = dict(flat)
  for pair in pairs.find(variables["params"], adjacent=adjacent):
    high = lipschitz.outliers(lipschitz.bound(variables, pair), u)
    for kind in ("scale", "bias"):
      values = flat[f"{pair.norm}/{kind}"]
      changed[f"{pair.norm}/{kind}"] = jnp.where(high, values.mean(), values)
  return {**variables, "params": traverse_util.unflatten_dict(changed, sep="/")}


def _check(params: Params, layers: tuple[pairs.Pair, ...]) -> None:
  flat = traverse_util.flatten_dict(params, sep="/")
  norms = [flat[f"{pair.norm}/scale"] for pair in layers]
  if any(isinstance(x, optax.MaskedNode) for x in norms):
    raise ValueError(
      "abi moves batch norms, but this attack leaves them as they are: use "
      "another regime."
    )
