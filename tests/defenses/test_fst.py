import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.defenses.parts import last
from bdjax.methods import registry


def make(name="fst", **args):
  return registry.get("defenses", name)(**({"batch_size": 16} | args))


def tuned(suspect, asked, defense):
  return defense.defend(jax.random.key(0), suspect, asked).variables["params"]


def test_two_steps_by_hand(slope, suspect, asked):
  args = {"lr": 0.1, "epochs": 2, "schedule": "constant", "alpha": 0.7}
  found = tuned(suspect, asked, make(weight_decay=0.05, **args))
  assert asked.data is suspect.clean
  assert asked.how == {"epochs": 2, "batch_size": 16, "name": "fst"}
  w0 = np.asarray(suspect.variables["params"]["linear"]["kernel"])

  k_layer, _ = jax.random.split(jax.random.key(0))
  params = last.drawn(k_layer, suspect.variables)["params"]
  trace = jax.tree.map(jnp.zeros_like, params)
  for _ in range(2):
    grads = slope(params)
    grads["linear"]["kernel"] += 0.7 * w0
    trace = jax.tree.map(
      lambda v, g, w: 0.9 * v + g + 0.05 * w, trace, grads, params
    )
    params = jax.tree.map(lambda w, v: w - 0.1 * v, params, trace)
    moved = np.asarray(params["linear"]["kernel"])
    moved = moved * np.linalg.norm(w0) / np.linalg.norm(moved)
    params["linear"]["kernel"] = jnp.asarray(moved)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-6),
    found,
    params,
  )


def test_without_alpha_it_is_ft_init_at_the_suspects_norm(suspect, asked):
  plain = tuned(suspect, asked, make("ft_init", epochs=2, keep_norm=True))
  same = tuned(suspect, asked, make(epochs=2, alpha=0.0))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
    plain,
    same,
  )


def test_a_large_alpha_turns_the_weights_against_the_suspects(suspect, asked):
  w0 = np.asarray(last.kernel(suspect.variables["params"]))
  found = tuned(suspect, asked, make(epochs=8, lr=0.1, alpha=100.0))
  w = np.asarray(last.kernel(found))
  size = np.linalg.norm(w0)
  np.testing.assert_allclose(np.linalg.norm(w), size, rtol=1e-5)
  assert (w * w0).sum() < -0.99 * size**2


def test_bad_arguments_are_named():
  with pytest.raises(ValueError, match=r"fst\.alpha is -0\.1, but must be"):
    make(alpha=-0.1)
