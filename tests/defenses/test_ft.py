import jax
import numpy as np

from bdjax.methods import registry


def make(**args):
  return registry.get("defenses", "ft")(**({"batch_size": 16} | args))


def test_tunes_the_clean_subset_at_a_constant_rate(suspect, asked):
  defense = make(lr=0.05, epochs=3)
  state = defense.defend(jax.random.key(0), suspect, asked)
  assert asked.data is suspect.clean
  assert asked.how == {"epochs": 3, "batch_size": 16, "name": "ft"}
  np.testing.assert_allclose(asked.rates, 0.05, rtol=1e-6)
  moved = jax.tree.map(
    lambda a, b: bool((a != b).any()), state.variables, suspect.variables
  )
  assert all(jax.tree.leaves(moved))  # the whole model, statistics included


def test_cosine_decays_over_all_steps(suspect, asked):
  make(lr=0.1, epochs=4, schedule="cosine").defend(
    jax.random.key(0), suspect, asked
  )
  t = np.arange(4)  # 4 epochs of 4 steps; the recorder takes one step an epoch
  wanted = 0.05 * (1 + np.cos(np.pi * t / 16))
  np.testing.assert_allclose(asked.rates, wanted, rtol=1e-5)
