"""L0-inv: a few scattered pixels, changed strongly.

Li et al., "Invisible Backdoor Attacks on Deep Neural Networks via
Steganography and Regularization", arXiv 1909.02742, with p = 0. Dirty-label
data poisoning with A(x) = clip(x + delta), one delta for all images.

Reconstructed: the authors released triggers for CIFAR-10 and no generator, so
the numbers here are this module's, and published ones cannot be matched
exactly. A clean classifier's neurons with the largest outgoing weights are
driven towards `amplify` times their usual activity. Optimization and selection
take turns: after every step the pixels (all channels of one place) with the
smallest saliency sum_c |delta * gradient| are dropped for good, evenly on a
logarithmic scale, so that `pixels` remain halfway through the rounds. The
second half strengthens those.

The released trigger replaces pixels: give its picture with `image` and its mask
with `mask`. A picture without a mask is added. The default rate, 5 %, is the
one that Forget-Me-Not's study uses.
"""

import functools

import jax
import jax.numpy as jnp

from bdjax.attacks.parts import poison
from bdjax.attacks.parts.goals import AnyGoal, Goal
from bdjax.attacks.parts.neurons import Excitation, Exciting, check, excite
from bdjax.data import patches
from bdjax.machine import programs
from bdjax.methods.signature import Added, Image, Rate, Size, validated
from bdjax.training import learn
from bdjax.types import Array, Attack, Fit, Images, Key, Params, Task

PRESETS = {"fmn": {"rate": 0.05}}


@validated
def make(
  *,
  rate: Rate = 0.05,
  goal: AnyGoal = Goal(),
  pixels: Size = 16,
  excitation: Exciting = Excitation(),
  image: Added = None,
  mask: Image = None,
) -> Attack:
  """Returns the attack.

  Args:
    rate: share of the training set that is poisoned.
    goal: which class an image's trigger leads to.
    pixels: how many are changed, at most, or what share of all.
    excitation: how neurons are amplified by the perturbation.
    image: [H, W, C] in [-1, 1] to use instead, resized to the data; None to
      optimize.
    mask: [H, W, C] of the same size, above a half where `image` replaces;
      None to add `image`.
  """
  if mask is not None and image is None:
    raise ValueError(
      "l0_inv.mask is given without l0_inv.image: give both, or neither."
    )

  def init(key: Key, task: Task, fit: Fit) -> Params:
    shape = task.train.image.shape[1:]
    _check(pixels, shape)
    if image is not None:
      return _given(image, mask, shape)
    check(task, excitation.neurons)
    k_clean, k_delta = jax.random.split(key)
    variables = learn.clean_classifier(k_clean, task, fit)
    optimize = functools.partial(
      excite,
      how=excitation,
      constrain=functools.partial(_select, excitation.rounds, pixels),
    )
    delta = programs.jit(optimize)(k_delta, task, variables)
    return {"delta": delta, "mask": jnp.zeros((1, *shape))}

  return poison.data_poisoning(init, trigger, goal, rate)


def trigger(key: Key, images: Images, params: Params) -> Images:
  """Returns the images with some pixels changed."""
  del key
  background = images * (1 - params["mask"])
  return jnp.clip(background + params["delta"], 0, 1)


def _check(pixels: float, shape: tuple[int, ...]) -> None:
  if pixels > shape[0] * shape[1]:
    raise ValueError(
      f"l0_inv.pixels is {pixels}, but images have {shape[0] * shape[1]}: "
      "give a smaller number."
    )


def _select(
  rounds: int, pixels: float, i: Array, delta: Array, grad: Array, before: Array
) -> Array:
  """Returns a perturbation of which round i's most salient pixels are left."""
  alive = jnp.any(before != 0, -1)
  saliency = jnp.abs(delta * grad).sum(-1)
  saliency = jnp.where(alive, saliency, -1.0).ravel()
  progress = jnp.minimum((i + 1) / max(rounds // 2, 1), 1.0)
  last = patches.in_pixels(pixels, saliency.size)
  count = jnp.round(saliency.size ** (1 - progress) * last**progress)
  place = jnp.argsort(jnp.argsort(-saliency)).reshape(alive.shape)
  return jnp.where(((place < count) & alive)[..., None], delta, 0.0)


def _given(image: Array, mask: Array | None, shape: tuple[int, ...]) -> Params:
  picture = jax.image.resize(image, shape, "nearest")[None]
  if mask is None:
    return {"delta": picture, "mask": jnp.zeros_like(picture)}
  with jax.ensure_compile_time_eval():  # so that it is known when traced
    there = jax.image.resize(mask, shape, "nearest")
    patches.check_covers("l0_inv.mask", there, above=0.5)
  mask = jax.image.resize(mask, shape, "nearest")[None] > 0.5
  return {"delta": jnp.where(mask, picture, 0.0), "mask": mask * 1.0}
