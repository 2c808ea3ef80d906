"""The residual networks and the CNN: their own traits."""
# ruff: noqa: D103

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.models import cnn, preact_resnet18, resnet18


def images(size=8, channels=3):
  rng = np.random.default_rng(0)
  return jnp.asarray(rng.uniform(size=(4, size, size, channels)), jnp.float32)


def shapes(model, x):
  return jax.eval_shape(model.init, jax.random.key(0), x)


def train(model, variables, x):
  return model.apply(variables, x, train=True, mutable=["batch_stats"])


@pytest.mark.parametrize(
  ("make", "sizes"),
  [
    (preact_resnet18.make, (32, 16, 8, 4)),
    (resnet18.make, (32, 16, 8, 4)),
    (functools.partial(resnet18.make, stem="imagenet"), (8, 4, 2, 1)),
    (cnn.make, (32, 16, 8)),
  ],
)
def test_feature_sizes(make, sizes):
  model, x = make(10, width=4), images(size=32)
  _, features = jax.eval_shape(model.apply, shapes(model, x), x)
  for i, size in enumerate(sizes):
    expected = (4, size, size, 4 * 2**i)
    assert features[f"layer{i + 1}"].shape == expected


def test_training_moves_batch_statistics_and_evaluation_does_not():
  model, x = cnn.make(10, width=4), images()
  variables = jax.jit(model.init)(jax.random.key(0), x)
  before = variables["batch_stats"]["bn1"]["mean"]
  _, updates = jax.jit(functools.partial(train, model))(variables, x)
  first = jax.lax.conv_general_dilated(
    x,
    variables["params"]["conv1"]["kernel"],
    (1, 1),
    "SAME",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
  expected = 0.9 * before + 0.1 * first.mean((0, 1, 2))
  np.testing.assert_allclose(
    updates["batch_stats"]["bn1"]["mean"], expected, rtol=1e-5, atol=1e-7
  )
  jax.eval_shape(model.apply, variables, x)  # raises if it writes


def test_bfloat16_stays_near_float32():
  x = images()
  full, half = cnn.make(10, width=8), cnn.make(10, width=8, dtype="bfloat16")
  variables = jax.jit(full.init)(jax.random.key(0), x)
  a, _ = jax.jit(full.apply)(variables, x)
  b, _ = jax.jit(half.apply)(variables, x)
  assert 0 < abs(np.asarray(a - b)).max() < 0.02


def test_linear_layer_starts_as_pytorch_does():
  model = cnn.make(100, width=16)
  linear = jax.jit(model.init)(jax.random.key(0), images())["params"]["linear"]
  for name in ("kernel", "bias"):
    largest = abs(linear[name]).max()
    assert 0.9 * 64**-0.5 < largest <= 64**-0.5


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"std": (1.0, 0.0, 1.0)}, "must be positive"),
    ({"mean": (0.0,)}, "one number per channel"),
  ],
)
def test_wrong_options_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    cnn.make(10, **options)


def test_channels_must_match_the_normalization():
  gray = images(channels=1)
  with pytest.raises(ValueError, match="1 channels"):
    shapes(cnn.make(10), gray)
  shapes(cnn.make(10, mean=(0.5,), std=(0.5,)), gray)
