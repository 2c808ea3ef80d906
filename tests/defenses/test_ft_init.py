import jax
import numpy as np
import pytest

from bdjax.defenses.parts import last
from bdjax.methods import registry


def make(**args):
  return registry.get("defenses", "ft_init")(**({"batch_size": 16} | args))


def test_tunes_all_from_a_last_layer_of_its_own(suspect, asked):
  state = make(epochs=2).defend(jax.random.key(0), suspect, asked)
  assert asked.data is suspect.clean
  assert asked.how == {"epochs": 2, "batch_size": 16, "name": "ft_init"}
  # a cosine over 2 epochs of 4 steps, of which the recorder takes two
  wanted = 0.005 * (1 + np.cos(np.pi * np.arange(2) / 8))
  np.testing.assert_allclose(asked.rates, wanted, rtol=1e-5)
  moved = jax.tree.map(
    lambda a, b: bool((a != b).any()), state.variables, suspect.variables
  )
  assert all(jax.tree.leaves(moved))


@pytest.mark.parametrize("keep_norm", [False, True])
def test_one_step_is_that_of_plain_sgd_from_the_drawn_layer(
  slope, keep_norm, suspect, asked
):
  defense = make(epochs=1, lr=0.1, keep_norm=keep_norm)
  found = defense.defend(jax.random.key(0), suspect, asked).variables["params"]
  k_layer, _ = jax.random.split(jax.random.key(0))
  start = last.drawn(k_layer, suspect.variables)

  grads = slope(start["params"])
  wanted = jax.tree.map(lambda w, g: w - 0.1 * g, start["params"], grads)
  if keep_norm:
    plain = np.asarray(wanted["linear"]["kernel"])
    norm = np.linalg.norm(suspect.variables["params"]["linear"]["kernel"])
    wanted["linear"]["kernel"] = plain * norm / np.linalg.norm(plain)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
    found,
    wanted,
  )


def test_the_authors_hold_the_norm_and_have_two_percent():
  official = registry.presets("defenses", "ft_init")["official"]
  command = {"clean_rate": 0.02, "epochs": 10, "batch_size": 128}
  assert official == command | {"keep_norm": True}


def test_bad_arguments_are_named():
  with pytest.raises(ValueError, match=r"ft_init\.keep_norm is 1, but must be"):
    make(keep_norm=1)
