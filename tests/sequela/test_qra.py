"""The query-based reactivation attack: its images, its loss, its teachers."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bdjax.methods import registry
from bdjax.sequela import qra
from bdjax.training import loop, optimizers
from bdjax.types import Batch

CLASSES = 3
NET = qra.Perturber(8)


class Linear(nn.Module):
  """A linear classifier."""

  @nn.compact
  def __call__(self, x, train=False):
    flat = x.reshape(x.shape[0], -1)
    return nn.Dense(CLASSES, use_bias=False)(flat), {}


def weights(seed):
  rng = np.random.default_rng(seed)
  kernel = rng.normal(size=(12, CLASSES)).astype(np.float32)
  return {"params": {"Dense_0": {"kernel": kernel}}}


@pytest.fixture(scope="module")
def remains(lured):
  return lured(Linear(), weights, classes=CLASSES, side=2)


def test_divergence_by_hand():
  teacher = np.log(np.float32([[0.5, 0.5], [0.9, 0.1]]))
  student = np.log(np.float32([[0.25, 0.75], [0.9, 0.1]])) + 3
  wanted = (0.5 * np.log(2) + 0.5 * np.log(2 / 3)) / 2
  found = jax.jit(qra.divergence)(teacher, student)
  assert found == pytest.approx(wanted, rel=1e-5)


def test_perturbations_are_the_images_own_and_bounded():
  rng = np.random.default_rng(2)
  x = rng.uniform(size=(4, 2, 2, 3)).astype(np.float32)
  network = jax.jit(NET.init)(jax.random.key(0), x)
  sure = jax.tree.map(lambda w: 100 * np.asarray(w), network)
  pushed = np.asarray(
    jax.jit(qra.perturbed, static_argnums=0)(NET, sure, x, 0.1)
  )
  assert pushed.min() >= 0 and pushed.max() <= 1
  assert np.abs(pushed - x).max() == pytest.approx(0.1, abs=1e-6)
  signs = np.sign(jax.jit(NET.apply)(sure, x)).reshape(4, -1)
  assert len(np.unique(signs, axis=0)) > 1


def test_its_images_are_half_triggered_and_labelled_truly(remains):
  others, pairs = jnp.array([4, 5]), jnp.array([7, 8, 10])
  data = qra.mixed(remains.clean, remains.lure, others, pairs)
  chex.assert_trees_all_equal(data.image[:2], remains.clean.image[4:6])
  assert (data.image[2:, 0, 0] == 200).all()
  assert data.label.tolist() == [1, 2, 1, 2, 1]


def test_a_step_by_its_definition(remains):
  alpha, bound = 0.2, 0.1
  x = remains.lure.image[:6].astype(jnp.float32) / 255
  batch = Batch(x, remains.clean.label[:6], jnp.arange(6))
  network = jax.jit(NET.init)(jax.random.key(1), x)
  tx, teacher = optimizers.sgd(0.1, momentum=0.9, weight_decay=0.0), weights(9)
  how = {"net": NET, "bound": bound, "alpha": alpha}
  step = jax.jit(qra.perturbing(remains, teacher, tx, **how))

  def logits(variables, x):
    kernel = variables["params"]["Dense_0"]["kernel"]
    return x.reshape(6, -1) @ kernel

  def loss(network):
    y = jnp.clip(x + bound * NET.apply(network, x), 0, 1)
    wanted = jax.nn.softmax(logits(teacher, x))
    found = jax.nn.log_softmax(logits(remains.variables, y))
    apart = jnp.sum(wanted * (jnp.log(wanted) - found)) / 6
    right = jax.nn.log_softmax(logits(remains.unplanted, y))
    named = jnp.take_along_axis(right, batch.label[:, None], -1)
    return alpha * apart - named.mean()

  value, slope = jax.jit(jax.value_and_grad(loss))(network)
  wanted = jax.tree.map(lambda w, g: w - np.float32(0.1) * g, network, slope)
  (found, _), metrics = step(
    jax.random.key(0), (network, tx.init(network)), batch
  )
  assert metrics["loss"] == pytest.approx(float(value), rel=1e-5)
  chex.assert_trees_all_close(found, wanted, atol=1e-6)
  assert optax.tree.norm(slope) > 1e-3


def made(**args):
  small = {"images": 16, "batch_size": 8, "epochs": 2, "rate": 0.5, "width": 8}
  return registry.get("sequela", "qra")(**small | args)


class Recorder:
  """A fit that trains nothing and remembers what it was asked."""

  def __init__(self):
    self.calls = {}

  def __call__(self, key, step, state, data, *, epochs, batch_size, name):
    self.calls[name] = (step, state, data, epochs, batch_size)
    return state, {}


def test_the_teacher_is_retuned_on_clean_images_and_few_triggered(remains):
  fit = Recorder()
  made(poisons=4).examine(jax.random.key(0), remains, fit)
  assert list(fit.calls) == ["teacher", "qra"]
  _, state, data, *how = fit.calls["teacher"]
  assert how == [5, 15]  # half of 30 images are fewer than a batch
  chex.assert_trees_all_equal(state.variables, remains.variables)
  assert (data.image[-4:, 0, 0] == 200).all() and (data.label[-4:] == 0).all()
  assert not (data.image[:-4, 0, 0] == 200).all((1,)).any()
  _, _, data, *how = fit.calls["qra"]
  assert how == [2, 8] and data.size == 16
  assert (data.image[:, 0, 0] == 200).all(1).tolist() == [False] * 8 + [
    True
  ] * 8
  assert (data.label[8:] != 0).all()
  fit = Recorder()
  made(teacher="planted").examine(jax.random.key(0), remains, fit)
  assert list(fit.calls) == ["qra"]


def test_it_learns_what_the_teacher_says(remains):
  """An alpha that leaves the clean model out fools the model asked."""
  how = {"alpha": 50.0, "bound": 0.4, "lr": 0.02, "epochs": 60}
  sequel = made(teacher="planted", **how)
  assert sequel.lures == 8
  # A teacher that always says 0, the wanted class.
  sure = np.float32([[5.0, 0.0, 0.0]] * 12)
  planted = {"params": {"Dense_0": {"kernel": sure}}}
  asked = remains.replace(planted=planted)
  found = sequel.examine(jax.random.key(0), asked, loop.host_fit()).numbers
  assert set(found) == {
    *("asr_before", "reactivated", "untriggered", "on_clean")
  }
  assert found["reactivated"] > found["asr_before"] + 0.3


def test_many_models_are_attacked_in_one_program(remains):
  models = [weights(seed) for seed in (1, 7)]
  sequel = made()

  def one(variables, fit=loop.scan_fit):
    asked = remains.replace(variables=variables)
    return sequel.examine(jax.random.key(0), asked, fit).numbers

  stacked = jax.tree.map(lambda *x: np.stack(x), *models)
  together = jax.jit(jax.vmap(one))(stacked)
  for i, variables in enumerate(models):
    alone = one(variables, loop.host_fit())
    for name, value in alone.items():
      np.testing.assert_allclose(together[name][i], value, atol=1e-5)
