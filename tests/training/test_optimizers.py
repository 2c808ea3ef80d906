import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bdjax.training import optimizers

TARGET = jnp.array([1.0, -2.0, 0.5])


def loss(params):
  return jnp.sum((params["w"] - TARGET) ** 2) + jnp.sum(params["w"] ** 4)


def run(tx, steps=4, start=(0.5, 0.5, -1.0)):
  tx = optax.with_extra_args_support(tx)
  params = {"w": jnp.array(start)}
  state = tx.init(params)
  for _ in range(steps):
    grads = jax.grad(loss)(params)
    updates, state = tx.update(
      grads, state, params, grad_fn=lambda p, i: jax.grad(loss)(p)
    )
    params = optax.apply_updates(params, updates)
  return params["w"]


def test_sgd_couples_decay_before_momentum_and_scales_last():
  rates = [0.1, 0.01, 0.05, 0.02]
  got = run(
    optimizers.sgd(
      lambda t: jnp.array(rates)[t], momentum=0.9, weight_decay=0.1
    )
  )
  w, v = np.array([0.5, 0.5, -1.0]), np.zeros(3)
  for lr in rates:
    grad = 2 * (w - np.asarray(TARGET)) + 4 * w**3 + 0.1 * w
    v = 0.9 * v + grad
    w = w - lr * v
  np.testing.assert_allclose(got, w, rtol=1e-5)


@pytest.mark.parametrize("adaptive", [False, True])
def test_perturbation_by_hand(adaptive):
  w, g = np.array([3.0, -4.0]), np.array([1.0, 2.0])
  t = np.abs(w) if adaptive else np.ones(2)
  wanted = 0.5 * t**2 * g / np.linalg.norm(t * g)
  climb = optimizers.ascent(0.5, adaptive=adaptive)
  got, _ = climb.update({"w": jnp.array(g)}, None, {"w": jnp.array(w)})
  np.testing.assert_allclose(-got["w"], wanted, rtol=1e-6)


def test_zero_gradient_perturbs_nothing():
  climb = optimizers.ascent(2.0)
  zero = {"w": jnp.zeros(3)}
  assert (climb.update(zero, None, zero)[0]["w"] == 0).all()


@pytest.mark.parametrize("adaptive", [False, True])
def test_sam_without_radius_is_sgd(adaptive):
  sgd = optimizers.sgd(0.02)
  same = run(optimizers.sam(sgd, rho=0.0, adaptive=adaptive))
  np.testing.assert_allclose(same, run(sgd), rtol=1e-6)


@pytest.mark.parametrize("adaptive", [False, True])
def test_sam_by_hand(adaptive):
  got = run(
    optimizers.sam(
      optimizers.sgd(0.02, momentum=0.9, weight_decay=0.01),
      rho=0.3,
      adaptive=adaptive,
    )
  )

  def grad(w):
    return 2 * (w - np.asarray(TARGET)) + 4 * w**3

  w, v = np.array([0.5, 0.5, -1.0]), np.zeros(3)
  for _ in range(4):
    t = np.abs(w) if adaptive else np.ones(3)
    climb = 0.3 * t**2 * grad(w) / np.linalg.norm(t * grad(w))
    v = 0.9 * v + grad(w + climb) + 0.01 * w
    w = w - 0.02 * v
  np.testing.assert_allclose(got, w, rtol=1e-4)


@pytest.mark.parametrize("given", [False, True])
def test_a_penalty_pulls_towards_the_start_or_the_memory(given):
  """By hand: SGD at .1 on g = 1 plus d/dw (w - m)^2 = 2 (w - m)."""
  start, memory = {"w": jnp.array([2.0])}, {"w": jnp.array([5.0])}

  def distance(params, memo):
    return ((params["w"] - memo["w"]) ** 2).sum()

  tx = optimizers.penalized(
    optimizers.sgd(0.1, momentum=0.0, weight_decay=0.0),
    distance,
    memory=memory if given else None,
  )
  params, state, grads = start, tx.init(start), {"w": jnp.array([1.0])}
  for wanted in [2.5, 2.9] if given else [1.9, 1.82]:
    updates, state = tx.update(grads, state, params)
    params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(params["w"], [wanted], rtol=1e-6)
