import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.defenses.parts import last
from bdjax.methods import registry
from bdjax.training import engine

pam = registry.module("defenses", "pam")


def make(name="pam", **args):
  return registry.get("defenses", name)(**({"batch_size": 16} | args))


def tuned(suspect, asked, defense):
  return defense.defend(jax.random.key(0), suspect, asked).variables


def test_nearer_by_hand():
  here = {"a": jnp.asarray([1.0, 2.0]), "b": jnp.asarray(0.0)}
  there = {"a": jnp.asarray([1.0, 6.0]), "b": jnp.asarray(-3.0)}
  # |(0, 4, -3)| = 5: a length of 2 is 2/5 of the way.
  found = pam.nearer(here, there, 2.0)
  np.testing.assert_allclose(found["a"], [1.0, 3.6], rtol=1e-6)
  np.testing.assert_allclose(found["b"], -1.2, rtol=1e-6)
  chex.assert_trees_all_equal(pam.nearer(here, here, 2.0), here)


def test_three_steps_by_hand(suspect, asked):
  args = {"lr": 0.1, "epochs": 3, "schedule": "constant", "rho": 0.3}
  found = tuned(suspect, asked, make(weight_decay=0.05, **args))
  assert asked.data is suspect.clean
  assert asked.how == {"epochs": 3, "batch_size": 16, "name": "pam"}
  np.testing.assert_allclose(asked.rates, 0.1)
  batch = engine.take(suspect.clean, jnp.arange(16))

  @jax.jit
  @jax.grad
  def slope(params, stats):
    (logits, _), _ = apply(params, stats)
    return -jax.nn.log_softmax(logits)[np.arange(16), batch.label].mean()

  def apply(params, stats):
    return suspect.model.apply(
      {"params": params, "batch_stats": stats},
      batch.image,
      train=True,
      mutable="batch_stats",
    )

  start = suspect.variables["params"]
  params, stats = start, suspect.variables["batch_stats"]
  trace, far = jax.tree.map(jnp.zeros_like, start), []
  for _ in range(3):
    way = [
      np.asarray(a - b, np.float64)
      for a, b in zip(*map(jax.tree.leaves, (start, params)), strict=True)
    ]
    size = np.sqrt(sum((x**2).sum() for x in way))
    far.append(size)
    step = [jnp.float32(0.3 * x / size if size else x) for x in way]
    step = jax.tree.unflatten(jax.tree.structure(params), step)
    point = jax.tree.map(jnp.add, params, step)
    grads = slope(point, stats)
    stats = apply(point, stats)[1]["batch_stats"]
    trace = jax.tree.map(
      lambda v, g, w: 0.9 * v + g + 0.05 * w, trace, grads, params
    )
    params = jax.tree.map(lambda w, v: w - 0.1 * v, params, trace)
  assert far[0] == 0 and far[2] > far[1] > 0
  wanted = {"params": params, "batch_stats": stats}
  chex.assert_trees_all_close(found, wanted, rtol=1e-3, atol=1e-5)


def test_without_rho_it_is_fine_tuning(suspect, asked):
  args = {"lr": 0.05, "epochs": 2, "schedule": "constant", "weight_decay": 0.0}
  plain = tuned(suspect, asked, make("ft", **args))
  same = tuned(suspect, asked, make(rho=0.0, **args))
  chex.assert_trees_all_close(plain, same, rtol=1e-4, atol=1e-6)
  other = tuned(suspect, asked, make(rho=0.5, **args))
  kernels = [last.kernel(one["params"]) for one in (same, other)]
  assert (kernels[0] != kernels[1]).any()


def test_bad_arguments_are_named():
  with pytest.raises(ValueError, match=r"pam\.rho is -0\.1, but must be"):
    make(rho=-0.1)
