import functools
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.defenses import fip
from bdjax.machine.keys import key_for
from bdjax.methods import registry
from bdjax.training import engine, learn
from bdjax.types import Access

LABELS = np.eye(4)


class Plain(nn.Module):
  """Logits x W of flat images, to be computed by hand."""

  @nn.compact
  def __call__(self, x, train=False):
    x = x.reshape(x.shape[0], -1)
    kernel = self.param("kernel", nn.initializers.normal(0.1), (192, 4))
    return x @ kernel, {}


@pytest.fixture(scope="module")
def plain(toy):
  model = Plain()
  variables = learn.init_variables(jax.random.key(3), toy, model=model)
  return Access(variables, toy, model=model)


def make(**args):
  given = {"batch_size": 16} | args
  return registry.get("defenses", "fip")(**given)


def flat(batch):
  return np.asarray(batch.image, np.float64).reshape(len(batch.label), -1)


def errors(w, x, label):
  """Returns what each image's loss changes by with its logits, [B, 4]."""
  z = np.exp(x @ w - (x @ w).max(1, keepdims=True))
  p = z / z.sum(1, keepdims=True)
  return p, p - LABELS[label]


def slopes(w, x, label):
  """Returns the gradient of each image's loss, [B, 192, 4]."""
  return x[:, :, None] * errors(w, x, label)[1][:, None]


def of_trace(w, x, label, signs):
  """Returns the gradient of |sum_i r_i dl_i/dw|^2 / B, [192, 4]."""
  p, error = errors(w, x, label)
  slope = np.einsum("i,id,ic->dc", signs, x, error)
  q = x @ slope
  curved = p * q - p * (p * q).sum(1, keepdims=True)
  return 2 / len(x) * np.einsum("i,id,ic->dc", signs, x, curved)


def test_over_all_signs_the_mean_is_the_trace(plain):
  batch = engine.take(plain.clean, jnp.arange(4))
  x, w = flat(batch), np.asarray(plain.variables["params"]["kernel"])

  def losses(params):
    logits, _ = plain.model.apply({"params": params}, batch.image)
    return fip.entropies(logits, batch.label)

  signs = np.float32(list(itertools.product((-1.0, 1.0), repeat=4)))
  one = functools.partial(fip.trace, losses, plain.variables["params"])
  found = np.asarray(jax.jit(jax.vmap(one))(signs))
  wanted = (slopes(w, x, batch.label) ** 2).sum((1, 2)).mean()
  np.testing.assert_allclose(found.mean(), wanted, rtol=1e-5)
  assert found.std() > 0.01 * wanted  # one estimate is not the trace


@pytest.mark.parametrize("count", [5, 64, 61])
def test_information_is_the_mean_of_squared_gradients(count, plain):
  data = jax.tree.map(lambda x: x[:count], plain.clean)
  found = fip.information(plain.model, plain.variables, data)["kernel"]
  batch = engine.take(data, jnp.arange(count))
  w = np.asarray(plain.variables["params"]["kernel"])
  wanted = (slopes(w, flat(batch), batch.label) ** 2).mean(0)
  np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-9)


def test_information_of_a_network_is_that_of_its_single_images(suspect):
  data = jax.tree.map(lambda x: x[:3], suspect.clean)
  found = fip.information(suspect.model, suspect.variables, data)
  ones = [
    fip.information(
      suspect.model,
      suspect.variables,
      jax.tree.map(lambda x, i=i: x[i : i + 1], data),
    )
    for i in range(3)
  ]
  jax.tree.map(
    lambda a, *b: np.testing.assert_allclose(a, sum(b) / 3, 1e-4, 1e-9),
    found,
    *ones,
  )


def test_three_steps_by_hand(plain, asked):
  args = {"eta_f": 0.02, "eta_r": 40.0, "every": 2, "epochs": 3, "lr": 0.05}
  found = make(**args).defend(jax.random.key(0), plain, asked)
  assert asked.data is plain.clean
  assert asked.how == {"epochs": 3, "batch_size": 16, "name": "fip"}
  every = engine.take(plain.clean, jnp.arange(64))
  batch = engine.take(plain.clean, jnp.arange(16))
  x, start = flat(batch), np.float64(plain.variables["params"]["kernel"])
  fisher = (slopes(start, flat(every), every.label) ** 2).mean(0)
  w, v = start, 0
  for t in range(3):
    key = key_for(jax.random.fold_in(jax.random.key(0), t), "signs")
    signs = np.float64(jax.random.rademacher(key, (16,)))
    grad = slopes(w, x, batch.label).mean(0)
    if t % 2 == 0:
      grad = grad + 0.02 * of_trace(w, x, batch.label, signs)
    v = 0.95 * v + grad + 40.0 * fisher * (w - start)
    w = w - 0.05 * v
  kernel = found.variables["params"]["kernel"]
  np.testing.assert_allclose(kernel, w, rtol=1e-3, atol=1e-5)


def test_without_its_terms_it_is_fine_tuning(suspect, asked):
  args = {"lr": 0.05, "epochs": 2, "weight_decay": 0.1, "momentum": 0.5}
  ft = registry.get("defenses", "ft")(batch_size=16, **args)
  plain = ft.defend(jax.random.key(0), suspect, asked).variables
  same = make(eta_f=0.0, eta_r=0.0, **args)
  same = same.defend(jax.random.key(0), suspect, asked).variables
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
    plain,
    same,
  )


def test_bad_arguments_are_named():
  with pytest.raises(ValueError, match=r"fip\.every is 0, but must be"):
    make(every=0)
  with pytest.raises(ValueError, match=r"fip\.eta_f is -1, but must be"):
    make(eta_f=-1)
