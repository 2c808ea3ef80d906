import chex
import jax
import numpy as np

from bdjax.methods import registry


def make(name="ft_sam", **args):
  return registry.get("defenses", name)(**({"batch_size": 16} | args))


def tuned(suspect, asked, defense):
  return defense.defend(jax.random.key(0), suspect, asked).variables


def test_without_radius_and_smoothing_it_is_fine_tuning(suspect, asked):
  args = {"lr": 0.05, "epochs": 2, "schedule": "constant"}
  plain = tuned(suspect, asked, make("ft", **args))
  same = tuned(suspect, asked, make(rho=0.0, smoothing=0.0, **args))
  chex.assert_trees_all_close(plain, same, rtol=1e-4, atol=1e-6)


def test_radius_and_form_matter(suspect, asked):
  def params(**args):
    found = tuned(suspect, asked, make(epochs=1, lr=0.1, **args))
    return np.asarray(found["params"]["linear"]["kernel"])

  assert (params(rho=2.0) != params(rho=1.0)).any()
  assert (params(rho=0.5) != params(rho=0.5, adaptive=False)).any()


def test_backdoorbench_cosine_moves_every_iteration(suspect, asked):
  make(epochs=3, lr=0.1, compat="backdoorbench").defend(
    jax.random.key(0), suspect, asked
  )
  wanted = 0.05 * (1 + np.cos(np.pi * np.arange(3) / 100))
  np.testing.assert_allclose(asked.rates, wanted, rtol=1e-5)


def test_a_constant_rate_is_constant_there_too(suspect, asked):
  make(epochs=3, lr=0.1, schedule="constant", compat="backdoorbench").defend(
    jax.random.key(0), suspect, asked
  )
  np.testing.assert_allclose(asked.rates, [0.1] * 3, rtol=1e-6)
