"""Losses and rates of a model on test images, clean and triggered.

All are functions of the variables, so that they can be mapped over models.
"""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import optax

from bdjax.runs import sequels
from bdjax.training import inference
from bdjax.types import Array, Attack, Backdoor, Dataset, Params

Scores = dict[str, Array]  # clean_loss, backdoor_loss, ca, asr: scalars


class Probe(NamedTuple):
  """Test images that models are looked at with.

  Attributes:
    clean: N images with their true labels.
    hit: the same with the trigger, rounded to 8 bits, with the labels that the
      adversary wants.
  """

  clean: Dataset
  hit: Dataset

  @property
  def other(self) -> Array:
    """Whether an image's own class is not the one that is wanted, [N] bool."""
    return self.clean.label != self.hit.label


def probe(
  test: Dataset, backdoor: Backdoor, attack: Attack, *, flag: str = "images"
) -> Probe:
  """Returns test images beside the same with a backdoor's trigger.

  Args:
    flag: what their number is given by, for the refusal.

  Raises:
    ValueError: none is of a class other than the target.
  """
  made = Probe(test, sequels.triggered(test, backdoor, attack))
  if not made.other.any():
    raise ValueError(
      f"--{flag}: none of {test.size} test images is of a class other than the "
      "target: give more."
    )
  return made


def scores(model: nn.Module, variables: Params, images: Probe) -> Scores:
  """Returns a model's mean losses, and its CA and ASR.

  The loss is the cross-entropy: on clean images with their own classes, and on
  triggered ones with the adversary's, where that is another (as for the ASR).
  """
  loss, right = _answers(model, variables, images.clean)
  wanted, hits = _answers(model, variables, images.hit)
  return {
    "clean_loss": jnp.mean(loss),
    "backdoor_loss": jnp.mean(wanted, where=images.other),
    "ca": jnp.mean(right),
    "asr": jnp.mean(hits, where=images.other),
  }


def _answers(
  model: nn.Module, variables: Params, data: Dataset
) -> tuple[Array, Array]:
  """Returns loss, and whether it is classified as labelled, of each example."""

  def ask(batch):
    logits, _ = model.apply(variables, batch.image, train=False)
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch.label)
    return loss, logits.argmax(-1) == batch.label

  return inference.each(data, ask)


def batches(data: Dataset, size: int) -> Array:
  """Returns images as whole batches, [n, B, H, W, C] uint8; no rest.

  Args:
    size: B, at most; all images where there are fewer.
  """
  size = min(size, data.size)
  whole = data.image[: data.size // size * size]
  return whole.reshape(-1, size, *data.image.shape[1:])


def floats(images: Array) -> Array:
  """Returns bytes as models take them, in [0, 1]."""
  return images.astype(jnp.float32) / 255
