"""Optimizers as the field means them: coupled SGD and Adam, and SAM around.

SGD adds weight decay to the gradient before momentum and multiplies by the
learning rate last, on all parameters, batch norm and biases included; with a
cyclical rate the order matters.

SAM is optax's, in its opaque mode, with perturbations that survive a zero
gradient: plain (Foret et al., arXiv 2010.01412) or adaptive (ASAM, Kwon
et al., arXiv 2102.11600), the form of FT-SAM (Zhu et al.,
arXiv 2304.11823).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from bdjax.types import Array, Params, Scalar, Schedule


def sgd(
  lr: Scalar | Schedule,
  *,
  momentum: Scalar = 0.9,
  weight_decay: Scalar = 5e-4,
) -> optax.GradientTransformation:
  """Returns SGD: decay added to the gradient, momentum, then the rate."""
  return optax.chain(
    optax.add_decayed_weights(weight_decay),
    optax.trace(momentum),
    optax.scale_by_learning_rate(lr),
  )


def adam(
  lr: Scalar | Schedule,
  *,
  momentum: Scalar = 0.9,
  weight_decay: Scalar = 0.0,
) -> optax.GradientTransformation:
  """Returns Adam as PyTorch has it: decay is added to the gradient first."""
  return optax.chain(
    optax.add_decayed_weights(weight_decay),
    optax.scale_by_adam(b1=momentum),
    optax.scale_by_learning_rate(lr),
  )


def only(
  tx: optax.GradientTransformation, chosen: Callable[[Params], Params]
) -> optax.GradientTransformation:
  """Returns an optimizer of chosen parameters; the others stay as they are.

  Args:
    tx: for the chosen ones.
    chosen: parameters -> the same tree of bool.
  """
  return optax.multi_transform(
    {True: tx, False: optax.set_to_zero()}, lambda params: chosen(params)
  )


def penalized(
  tx: optax.GradientTransformation,
  penalty: Callable[[Params, Params], Array],
  *,
  memory: Params | None = None,
) -> optax.GradientTransformationExtraArgs:
  """Returns an optimizer of the loss plus a penalty on the parameters.

  The reported loss leaves the penalty out. So does `grad_fn`, by which SAM
  inside looks around.

  Args:
    tx: gets the sum of both gradients; its weight decay and momentum follow.
    penalty: (parameters, memory) -> scalar.
    memory: arrays that the penalty compares with, part of the state so that no
      program holds them; None for the parameters at the start.
  """
  tx = optax.with_extra_args_support(tx)

  def init(params):
    memo = params if memory is None else memory
    return tx.init(params), jax.tree.map(jnp.array, memo)

  def update(grads, state, params, **extra):
    inner, memo = state
    more = jax.grad(penalty)(params, memo)
    grads = jax.tree.map(jnp.add, grads, more)
    updates, inner = tx.update(grads, inner, params, **extra)
    return updates, (inner, memo)

  return optax.GradientTransformationExtraArgs(init, update)


def ascent(
  rho: Scalar, *, adaptive: bool = False, eps: float = 1e-12
) -> optax.GradientTransformation:
  """Returns the transformation of a gradient into minus SAM's perturbation.

  Args:
    rho: radius of the perturbation.
    adaptive: scale by the parameters: rho w^2 g / || |w| g ||, else
      rho g / ||g||.
    eps: added to the norm, so that a zero gradient perturbs nothing.
  """

  def update(grads, state, params):
    scale = jax.tree.map(jnp.abs if adaptive else jnp.ones_like, params)
    grads = jax.tree.map(jnp.multiply, scale, grads)
    size = rho / (optax.tree.norm(grads) + eps)
    return jax.tree.map(lambda s, g: -size * s * g, scale, grads), state

  return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def sam(
  tx: optax.GradientTransformation,
  *,
  rho: Scalar,
  adaptive: bool = False,
) -> optax.GradientTransformationExtraArgs:
  """Wraps an optimizer in sharpness-aware minimization.

  Its `update` needs `grad_fn=(params, i) -> gradient`, which `learn.supervised`
  passes; batch-norm statistics are those of the unperturbed pass.

  Args:
    tx: the optimizer that takes the step, at the unperturbed parameters.
    rho: radius of the perturbation; 2 in FT-SAM, which is adaptive.
  """
  plain = contrib.sam(tx, ascent(rho, adaptive=adaptive), opaque_mode=True)

  def update(grads, state, params, *, grad_fn, **_):
    return plain.update(grads, state, params, grad_fn=grad_fn)

  return optax.GradientTransformationExtraArgs(plain.init, update)
