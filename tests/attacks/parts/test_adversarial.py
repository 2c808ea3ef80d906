import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bdjax.attacks.parts import adversarial
from bdjax.attacks.parts.adversarial import Ascent
from bdjax.types import Batch


class Linear(nn.Module):
  """A classifier whose logits are a matrix times the pixels."""

  @nn.compact
  def __call__(self, x, train=False):
    kernel = self.param("kernel", nn.initializers.normal(), (12, 3))
    return x.reshape(len(x), -1) @ kernel, {"pooled": x.mean((1, 2))}


RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=(12, 3))
IMAGES = RNG.random((4, 2, 2, 3))
LABEL = np.array([0, 1, 2, 1])


def by_hand(eps, step, rounds, norm):
  """Returns the images of the ascent, in numpy and double precision."""
  start = IMAGES.reshape(4, 12)
  x = start.copy()
  for _ in range(rounds):
    logits = x @ KERNEL
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    slope = (p - np.eye(3)[LABEL]) @ KERNEL.T
    if norm == "linf":
      push = np.clip(x + step * np.sign(slope) - start, -eps, eps)
    else:
      length = np.linalg.norm(slope, axis=1, keepdims=True)
      push = x + step * slope / length - start
      length = np.linalg.norm(push, axis=1, keepdims=True)
      push *= np.minimum(1, eps / length)
    x = np.clip(start + push, 0, 1)
  return x.reshape(IMAGES.shape)


def got(eps, step, rounds, norm):
  variables = {"params": {"kernel": KERNEL.astype(np.float32)}}
  harder = made_harder(Linear(), Ascent(eps, step, rounds, norm))
  return harder(variables, IMAGES.astype(np.float32), LABEL)


def made_harder(model, ascent):
  """Returns the program of an ascent."""
  return jax.jit(
    lambda variables, images, label: adversarial.harder(
      model, variables, images, label, ascent
    )
  )


@pytest.mark.parametrize("norm", adversarial.NORMS)
@pytest.mark.parametrize("rounds", [1, 5])
def test_steps_are_those_by_hand(norm, rounds):
  args = (0.15, 0.04, rounds, norm)
  np.testing.assert_allclose(got(*args), by_hand(*args), atol=1e-5)


@pytest.mark.parametrize("norm", adversarial.NORMS)
def test_the_bound_is_reached_and_kept(norm):
  push = np.asarray(got(0.05, 0.02, 20, norm)) - IMAGES
  size = (
    np.abs(push)
    if norm == "linf"
    else np.linalg.norm(push.reshape(4, -1), axis=1)
  )
  assert 0.05 - 1e-6 < size.max() < 0.05 + 1e-6


def test_a_robust_classifier_is_trained_on_images_that_are_hard_for_it(task):
  seen = {}

  def note(key, step, state, data, **how):
    seen.update(how, step=step, state=state)
    return state, {}

  def plain(key, batch):
    return batch

  alone = task.replace(view=plain)
  ascent = Ascent(0.1, 0.05, 2)
  key = jax.random.key(0)
  variables = adversarial.robust_classifier(key, alone, note, ascent)
  assert (seen["name"], seen["epochs"]) == ("robust", 2)
  image = np.asarray(task.train.image[:16]) / np.float32(255)
  label = np.asarray(task.train.label[:16])
  hard = made_harder(task.model, ascent)(variables, image, label)
  batch = Batch(image, label, np.arange(16))
  _, metrics = jax.jit(seen["step"])(key, seen["state"], batch)
  lost = jax.jit(lambda image: loss(task, variables, image, label))
  one, other = float(lost(hard)), float(lost(image))
  assert one > other + 1e-3
  np.testing.assert_allclose(metrics["loss"], one, rtol=1e-4)


def loss(task, variables, images, label):
  """Returns the mean cross-entropy in training mode."""
  logits, _ = task.model.apply(
    variables, images, train=True, mutable=["batch_stats"]
  )[0]
  picked = jax.nn.log_softmax(logits)[jnp.arange(len(label)), label]
  return -picked.mean()
