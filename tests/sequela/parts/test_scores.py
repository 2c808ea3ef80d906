import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.sequela.parts import scores

compute = jax.jit(scores.scores)
modified_entropy = jax.jit(scores.modified_entropy)
log_probabilities = jax.jit(scores.log_probabilities)
P = np.array([0.7, 0.2, 0.1])
BY_LABEL = (  # Mentr of P by hand
  -0.3 * np.log(0.7) - 0.2 * np.log(0.8) - 0.1 * np.log(0.9),
  -0.8 * np.log(0.2) - 0.7 * np.log(0.3) - 0.1 * np.log(0.9),
  -0.9 * np.log(0.1) - 0.7 * np.log(0.3) - 0.2 * np.log(0.8),
)


def of_p(count):
  return jnp.asarray(np.tile(np.log(P), (count, 1)), jnp.float32)


def test_scores_by_hand():
  logits, label = of_p(3), jnp.arange(3)
  entropy = modified_entropy(logits, label)
  np.testing.assert_allclose(entropy, BY_LABEL, rtol=1e-6)
  found = compute(logits, label)
  assert set(found) == {"loss", "confidence", "mentropy", "correctness"}
  np.testing.assert_allclose(found["loss"], np.log(P), rtol=1e-6)
  np.testing.assert_allclose(found["confidence"], [np.log(0.7)] * 3, rtol=1e-6)
  np.testing.assert_allclose(found["mentropy"], -np.log(BY_LABEL), rtol=1e-6)
  assert found["correctness"].tolist() == [1, 0, 0]


def test_log_probabilities_agree_with_double_precision():
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(50, 6)) * np.logspace(-1, 2, 50)[:, None]
  logits = np.float32(logits).astype(np.float64)
  shifted = np.exp(logits - logits.max(-1, keepdims=True))
  others = np.array([np.delete(shifted, i, -1).sum(-1) for i in range(6)]).T
  whole = np.log(shifted.sum(-1, keepdims=True))
  log_p, log_not = log_probabilities(jnp.asarray(logits, jnp.float32))
  wanted = logits - logits.max(-1, keepdims=True) - whole
  np.testing.assert_allclose(log_p, wanted, rtol=1e-4, atol=1e-6)
  tiny = others > 0  # else beyond even double precision
  np.testing.assert_allclose(
    np.asarray(log_not)[tiny],
    (np.log(others, where=tiny, out=np.zeros_like(others)) - whole)[tiny],
    rtol=1e-4,
    atol=1e-6,
  )


def test_members_whose_probability_rounds_to_one_stay_apart():
  gap = jnp.array([20.0, 30.0, 40.0, 60.0])
  logits = jnp.stack([gap, jnp.zeros(4)], -1)
  found = compute(logits, jnp.zeros(4, jnp.int32))
  for name in ("loss", "confidence", "mentropy"):
    assert (jnp.diff(found[name]) > 0).all(), name
  np.testing.assert_allclose(found["loss"], -np.exp(-np.array(gap)), rtol=1e-5)


@pytest.mark.parametrize("label", [0, 1])
def test_scores_of_extreme_logits_are_finite(label):
  logits = jnp.array([[1e4, -1e4], [0.0, 0.0], [300.0, 0.0]])
  found = compute(logits, jnp.full(3, label))
  assert all(jnp.isfinite(v).all() for v in found.values())


def test_a_constant_added_to_logits_changes_nothing():
  label = jnp.arange(3)
  plain = compute(of_p(3), label)
  moved = compute(of_p(3) + 5, label)
  for name, value in plain.items():
    np.testing.assert_allclose(moved[name], value, rtol=1e-5)
