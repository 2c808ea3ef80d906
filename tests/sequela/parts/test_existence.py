"""The backdoor existence coefficient: CKA, channels, layers, and its ends."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.data import splits
from bdjax.sequela.parts import existence
from bdjax.training import metrics
from bdjax.types import Dataset

ALL = np.ones(3, bool)
linear_cka = jax.jit(existence.linear_cka)


def column(*values):
  return np.float32(values)[:, None]


@pytest.mark.parametrize(
  ("x", "y", "wanted"),
  [
    # Centered: (-1, 0, 1) and (-1, -1, 2) / 1; their cosine, squared, is CKA.
    (column(0, 1, 2), column(0, 0, 3), 9 / 12),
    (column(0, 1, 2), column(5, 3, 1), 1.0),
    (column(0, 1, 2), column(1, -2, 1), 0.0),
    (column(0, 1, 2), column(7, 7, 7), 0.0),  # what does not vary
    # K = diag-like of three unit vectors, centered I - 1/3: norm sqrt(2); of
    # (-1, 0, 1), norm 2; their product is 2.
    (np.eye(3, dtype=np.float32), column(0, 1, 2), 2 / (2 * 2**0.5)),
  ],
)
def test_cka_of_known_matrices(x, y, wanted):
  found = linear_cka(x, y, ALL)
  assert found == pytest.approx(wanted, abs=1e-6)
  assert linear_cka(y, x, ALL) == pytest.approx(wanted, abs=1e-6)


def test_cka_is_that_of_its_definition_turned_and_scaled():
  rng = np.random.default_rng(0)
  x, y = rng.normal(size=(20, 6)), rng.normal(size=(20, 4))
  y[:, :2] += x[:, :2]
  a, b = x - x.mean(0), y - y.mean(0)
  norm = np.linalg.norm
  wanted = norm(a.T @ b) ** 2 / (norm(a.T @ a) * norm(b.T @ b))
  turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
  every = np.ones(20, bool)
  found = [
    linear_cka(one.astype(np.float32), y.astype(np.float32), every)
    for one in (x, 1e8 * x @ turn + 3)
  ]
  assert found == pytest.approx([wanted, wanted], abs=1e-4)


def test_examples_that_do_not_count_change_nothing():
  x, y = column(0, 1, 2, 50), column(0, 0, 3, -80)
  use = np.array([True, True, True, False])
  assert linear_cka(x, y, use) == pytest.approx(0.75, abs=1e-6)
  assert linear_cka(x, y, ~use) == 0  # one alone does not vary


def test_channels_are_ranked_by_how_far_the_trigger_moves_them():
  clean = jnp.zeros((1, 1, 2, 3))
  hit = jnp.array([[[[0.0, 3.0, -1.0], [1.0, -4.0, 1.0]]]])
  moved = metrics.channel_norms(hit - clean)
  np.testing.assert_allclose(moved, [[1, 5, 2**0.5]], rtol=1e-6)
  assert existence.most(moved[0], 0.1).tolist() == [1]  # one at least
  assert existence.most(moved[0], 0.7).tolist() == [1, 2]


@pytest.mark.parametrize(
  ("likeness", "clean", "wanted"),
  [(1, 0.2, 1), (0.2, 0.2, 0), (0.6, 0.2, 0.5), (0.1, 0.2, 0)],
)
def test_the_coefficient_lies_between_the_clean_and_the_planted_model(
  likeness, clean, wanted
):
  found = existence.coefficient(jnp.float32(likeness), jnp.float32(clean))
  assert found == pytest.approx(wanted, abs=1e-6)
  for likeness in (0.5, 1.0):
    nothing = existence.coefficient(jnp.float32(likeness), jnp.ones(()))
    assert jnp.isnan(nothing)


class Scaled(nn.Module):
  """Two layers: the images, and their three channels mixed by a matrix."""

  @nn.compact
  def __call__(self, x, train=False):
    mixed = nn.Dense(4, use_bias=False, name="mix")(x)
    return mixed.mean((1, 2)), {"layer1": x, "layer2": mixed, "pooled": x[:, 0]}


def kernel(*columns):
  return {"params": {"mix": {"kernel": jnp.array(columns, jnp.float32).T}}}


def test_the_model_is_compared_in_the_neurons_of_the_planted_one():
  rng = np.random.default_rng(1)
  image = rng.integers(0, 200, (9, 1, 1, 3)).astype(np.uint8)
  hit = image.copy()
  hit[..., 0] += 50  # the trigger is red
  label = jnp.arange(9) % 3
  test = Dataset(jnp.asarray(image), label)
  lure = Dataset(jnp.asarray(hit), jnp.zeros(9, jnp.int32))
  red, green, blue = jnp.eye(3)
  planted = kernel(red, green, blue, green)
  clean = kernel(green, green, blue, green)
  rest = rng.normal(size=(3, 3))
  repaired = kernel(2 * red, *jnp.asarray(rest))  # its other channels are other

  def found(variables, images=500):
    def look(*models):
      return existence.existence(
        Scaled(), *models, test, lure, share=0.25, images=images
      )

    return jax.jit(look)(variables, planted, clean)

  assert found(planted)["bec"] == pytest.approx(1, abs=1e-5)
  assert found(repaired)["bec"] == pytest.approx(1, abs=1e-5)
  assert found(clean)["bec"] == 0
  # Of nine images six count, and layer 1 is the same in all models.
  use = np.asarray(label != 0)
  a, b = hit[use, 0, 0, 0] / 255, hit[use, 0, 0, 1] / 255
  alike = np.corrcoef(a, b)[0, 1] ** 2
  assert found(clean)["cka"] == pytest.approx((1 + alike) / 2, abs=1e-4)
  places = [i for i in splits.shuffled(9) if use[i]][:4]  # not the first
  a, b = (hit[places, 0, 0, channel] / 255 for channel in (0, 1))
  alike = np.corrcoef(a, b)[0, 1] ** 2
  few = found(clean, images=4)["cka"]
  assert few == pytest.approx((1 + alike) / 2, abs=1e-4)


def test_a_model_without_places_is_refused():
  class Flat(nn.Module):
    def __call__(self, x, train=False):
      return x[:, 0, 0], {"pooled": x[:, 0, 0]}

  with pytest.raises(ValueError, match=r"but the model returns \['pooled'\]"):
    existence.layers(Flat(), {}, jnp.zeros((1, 2, 2, 3)))
