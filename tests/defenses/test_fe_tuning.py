import jax
import numpy as np
import pytest

from bdjax.defenses.parts import last
from bdjax.methods import registry


def make(**args):
  return registry.get("defenses", "fe_tuning")(**({"batch_size": 16} | args))


@pytest.mark.parametrize("keep_norm", [False, True])
def test_features_take_plain_steps_under_a_frozen_layer(
  slope, keep_norm, suspect, asked
):
  defense = make(epochs=1, lr=0.1, weight_decay=0.2, keep_norm=keep_norm)
  found = defense.defend(jax.random.key(0), suspect, asked).variables["params"]
  assert asked.data is suspect.clean
  assert asked.how == {"epochs": 1, "batch_size": 16, "name": "fe_tuning"}
  k_layer, _ = jax.random.split(jax.random.key(0))
  start = last.drawn(k_layer, suspect.variables)

  grads = slope(start["params"])
  wanted = jax.tree.map(
    lambda w, g: w - 0.1 * (g + 0.2 * w), start["params"], grads
  )
  wanted["linear"] = dict(start["params"]["linear"])
  if keep_norm:
    drawn = np.asarray(wanted["linear"]["kernel"])
    norm = np.linalg.norm(suspect.variables["params"]["linear"]["kernel"])
    wanted["linear"]["kernel"] = drawn * norm / np.linalg.norm(drawn)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
    found,
    wanted,
  )


def test_bad_arguments_are_named():
  with pytest.raises(ValueError, match=r"fe_tuning\.lr is 0, but must be"):
    make(lr=0)
