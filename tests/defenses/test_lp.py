import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.methods import registry
from bdjax.models.parts import heads
from bdjax.training import engine
from bdjax.types import Access


def make(**args):
  return registry.get("defenses", "lp")(**({"batch_size": 16} | args))


def tuned(suspect, asked, **args):
  defense = make(schedule="constant", weight_decay=0.1, lr=0.2, **args)
  return defense.defend(jax.random.key(0), suspect, asked).variables


def changed(before, after):
  same = jax.tree.map(lambda a, b: bool((a == b).all()), before, after)
  leaves = jax.tree_util.tree_leaves_with_path(same)
  return {jax.tree_util.keystr(path) for path, equal in leaves if not equal}


LAYER = {"['linear']['kernel']", "['linear']['bias']"}


@pytest.mark.parametrize("keep_norm", [False, True])
def test_two_steps_by_hand(keep_norm, suspect, asked):
  found = tuned(suspect, asked, epochs=2, keep_norm=keep_norm)
  assert asked.data is suspect.clean
  assert asked.how == {"epochs": 2, "batch_size": 16, "name": "lp"}
  batch = engine.take(suspect.clean, jnp.arange(16))
  _, features = suspect.model.apply(suspect.variables, batch.image)
  x, y = np.asarray(features["pooled"], np.float64), np.eye(4)[batch.label]
  layer = suspect.variables["params"]["linear"]
  w, b = (np.asarray(layer[k], np.float64) for k in ("kernel", "bias"))
  norm, v, u = np.linalg.norm(w), 0, 0
  for _ in range(2):
    p = np.exp(x @ w + b)
    error = (p / p.sum(1, keepdims=True) - y) / 16
    v = 0.9 * v + x.T @ error + 0.1 * w
    u = 0.9 * u + error.sum(0) + 0.1 * b
    w, b = w - 0.2 * v, b - 0.2 * u
    w = w * norm / np.linalg.norm(w) if keep_norm else w
  layer = found["params"]["linear"]
  np.testing.assert_allclose(layer["kernel"], w, rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(layer["bias"], b, rtol=1e-4, atol=1e-6)


def test_nothing_but_the_last_layer_changes(suspect, asked):
  found = tuned(suspect, asked, epochs=2)
  assert changed(suspect.variables["params"], found["params"]) == LAYER
  assert (
    changed(suspect.variables["batch_stats"], found["batch_stats"]) == set()
  )


def test_statistics_move_where_the_features_do(suspect, asked):
  found = tuned(suspect, asked, epochs=1, moving=True)
  assert changed(suspect.variables["params"], found["params"]) == LAYER
  batch = engine.take(suspect.clean, jnp.arange(16))
  _, wanted = suspect.model.apply(
    suspect.variables, batch.image, train=True, mutable="batch_stats"
  )
  stats = found["batch_stats"]
  assert changed(suspect.variables["batch_stats"], stats)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
    stats,
    wanted["batch_stats"],
  )


def test_of_a_head_it_is_the_last_layer(suspect, asked):
  user = heads.Headed(suspect.model.clone(num_classes=0), heads.make("mlp", 4))
  variables = jax.jit(user.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
  found = tuned(Access(variables, suspect.clean, model=user), asked, epochs=1)
  assert changed(variables, found) == {
    f"['params']['head']{layer}" for layer in LAYER
  }


def test_the_authors_move_statistics_and_hold_the_norm():
  official = registry.presets("defenses", "lp")["official"]
  command = {"clean_rate": 0.02, "epochs": 10, "batch_size": 128}
  assert official == command | {"moving": True, "keep_norm": True}


def test_bad_arguments_are_named():
  with pytest.raises(ValueError, match=r"lp\.moving is 'yes', but must be"):
    make(moving="yes")
