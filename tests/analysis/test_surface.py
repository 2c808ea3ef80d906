import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.analysis import surface
from bdjax.analysis.scores import scores
from bdjax.machine.keys import key_for


def test_filters_of_a_direction_have_the_norms_of_the_models():
  kernel = jnp.array([[3.0, 0.0], [4.0, 0.5]])  # columns: 5 and .5
  wide = jnp.zeros((3, 3, 2, 2)).at[..., 1].set(2.0)  # 0 and 2 sqrt(18)
  params = {
    "conv": {"kernel": wide, "bias": jnp.ones(2)},
    "bn": {"scale": jnp.ones(2), "bias": jnp.ones(2)},
    "linear": {"kernel": kernel},
    "token": jnp.ones((1, 1, 4)),
  }
  made = surface.direction(jax.random.key(0), params)
  norms = jnp.linalg.norm(made["linear"]["kernel"], axis=0)
  np.testing.assert_allclose(norms, [5, 0.5], rtol=1e-6)
  norms = jnp.sqrt((made["conv"]["kernel"] ** 2).sum((0, 1, 2)))
  np.testing.assert_allclose(norms, [0, 2 * 18**0.5], rtol=1e-6)
  still = [made["conv"]["bias"], *made["bn"].values(), made["token"]]
  assert not any(x.any() for x in still)


@pytest.fixture(scope="module")
def found(model, pair, probe, toy):
  steps = []
  made = surface.around(
    *(jax.random.key(3), model, pair[0], probe, toy),
    **{"grid": 3, "span": 0.5, "chunk": 4},  # 9 points in 3 chunks
    progress=lambda done, count: steps.append((done, count)),
  )
  assert steps == [(4, 9), (8, 9), (9, 9)]
  return made


def test_the_model_is_in_the_middle(found, model, pair, probe):
  assert found["steps"] == [-0.5, 0, 0.5]
  for name, value in scores(model, pair[0], probe).items():
    np.testing.assert_allclose(found[name][1][1], value, rtol=1e-5)


def test_rows_go_along_the_second_direction(found, model, pair, probe):
  params = pair[0]["params"]
  one, two = (
    surface.direction(key_for(jax.random.key(3), name), params)
    for name in surface.AXES
  )
  moved = jax.tree.map(lambda w, a, b: w - 0.5 * a + 0.5 * b, params, one, two)
  there = scores(model, pair[0] | {"params": moved}, probe)
  loss = found["clean_loss"]
  assert loss[2][0] == pytest.approx(float(there["clean_loss"]), rel=1e-4)
  assert abs(loss[2][0] - loss[0][2]) > 1e-3


def test_chunks_change_nothing(found, model, pair, probe, toy):
  args = (jax.random.key(3), model, pair[0], probe, toy)
  alone = surface.around(*args, grid=3, span=0.5, chunk=1)
  for name, rows in found.items():
    np.testing.assert_allclose(alone[name], rows, rtol=1e-4, atol=1e-6)
