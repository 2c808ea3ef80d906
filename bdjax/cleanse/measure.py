"""What a classifier answers, before and after the repair.

None of it needs to know a trigger: accuracy on images that were held out, how
wrong answers spread over classes, what is said of noise; and, of images that
the user suspects to be triggered, how many get one class.
"""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from bdjax.cleanse.folders import UNKNOWN
from bdjax.data import splits
from bdjax.machine import backend
from bdjax.report import intervals
from bdjax.types import Params

NOISE = 500  # images
_PIXELS = 2**20  # of images asked about at once
_BATCH = 256
_FORMS = 32  # programs that are kept: a suspect is asked in many forms, twice


class Share(NamedTuple):
  """A share of images, counted."""

  hits: int
  count: int

  @property
  def rate(self) -> float:
    """The share in [0, 1]; NaN of nothing."""
    return self.hits / self.count if self.count else float("nan")

  @property
  def interval(self) -> tuple[float, float]:
    """Wilson's 95 % interval; all of [0, 1] of nothing."""
    rate = self.rate if self.count else None
    return intervals.wilson(rate, self.count) or (0.0, 1.0)

  def __str__(self) -> str:
    """Returns the share in percent with its interval and its count."""
    low, high = (f"{100 * end:.1f}" for end in self.interval)
    if not self.count:
      return "of no images"
    return f"{100 * self.rate:.1f} % [{low}, {high}] of {self.count}"


class Answers(NamedTuple):
  """What one model says.

  Attributes:
    confusion: [classes, classes], held-out images by true class and answer.
    noise: [classes], answers to images of uniform noise.
    triggered: [N] answers to suspected images; None without any.
  """

  confusion: np.ndarray
  noise: np.ndarray
  triggered: np.ndarray | None

  @property
  def accuracy(self) -> Share:
    """Held-out images that are answered right."""
    return Share(int(np.trace(self.confusion)), int(self.confusion.sum()))

  def of_class(self, c: int) -> Share:
    """Held-out images of a class that are answered right."""
    return Share(int(self.confusion[c, c]), int(self.confusion[c].sum()))

  def drawn(self, c: int) -> Share:
    """Held-out images of other classes that are answered with a class."""
    others = np.delete(self.confusion, c, axis=0)
    return Share(int(others[:, c].sum()), int(others.sum()))

  def given(self, c: int) -> Share:
    """Held-out images of any class that are answered with a class."""
    counts = self.confusion
    return Share(int(counts[:, c].sum()), int(counts.sum()))


class Taken(NamedTuple):
  """How many of the suspected images get the class that most of them get.

  Attributes:
    target: the class, chosen by the answers before the repair.
    before: images, not of that class as far as is known, that got it.
    after: the same of the repaired model.
    right: (before, after) images answered with their own class; None where
      the folder does not tell classes.
  """

  target: int
  before: Share
  after: Share
  right: tuple[Share, Share] | None


def divided(
  label: np.ndarray, *, rate: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
  """Divides images in two, each class alike.

  Args:
    label: [N]; every class has two or more.
    rate: share of each class that is held out; of few images at least one,
      and at least one is left.
    seed: decides the draw.

  Returns:
    Rows to train on and rows held out, each in order.
  """
  held = np.zeros(len(label), bool)
  for c in np.unique(label):
    rows = np.flatnonzero(label == c)
    count = min(max(1, round(rate * len(rows))), len(rows) - 1)
    order = splits.shuffled(len(rows), seed=[seed, int(c)])
    held[rows[order[:count]]] = True
  return np.flatnonzero(~held), np.flatnonzero(held)


def ask(model: nn.Module, variables: Params, images: np.ndarray) -> np.ndarray:
  """Returns the class that a model answers for every image, [N].

  Args:
    model: the architecture.
    variables: its weights.
    images: [N, H, W, 3] uint8.
  """
  return predictions(model, variables, images)[0]


def predictions(
  model: nn.Module, variables: Params, images: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Returns a model's answers, and their probabilities as it gives them.

  Args:
    model: the architecture.
    variables: its weights.
    images: [N, H, W, 3] uint8.

  Returns:
    Classes [N] and probabilities [N].
  """
  size = max(1, min(_BATCH, _PIXELS // (images.shape[1] * images.shape[2])))
  program = _program(model, (size, *images.shape[1:]))
  outputs = [(np.zeros(0, np.int64), np.zeros(0, np.float32))]
  for start in range(0, len(images), size):
    batch = images[start : start + size]
    padded = np.zeros((size, *images.shape[1:]), np.uint8)
    padded[: len(batch)] = batch
    pair = map(np.asarray, program(variables, padded))
    outputs.append(tuple(array[: len(batch)] for array in pair))
  classes, confidence = map(np.concatenate, zip(*outputs, strict=True))
  return classes, confidence


@functools.lru_cache(maxsize=_FORMS)
def _program(model: nn.Module, shape: tuple[int, ...]):
  """Returns a compiled program of (variables, images uint8).

  Its outputs are classes and their probabilities.
  """
  del shape  # one program each, so that none is compiled twice

  def answer(variables, images):
    images = images.astype(jnp.float32) / 255
    logits = model.apply(variables, images, train=False)[0]
    return logits.argmax(-1), nn.softmax(logits).max(-1)

  return jax.jit(answer, compiler_options=backend.compiler_options())


def answers(
  model: nn.Module,
  variables: Params,
  images: np.ndarray,
  label: np.ndarray,
  *,
  num_classes: int,
  triggered: np.ndarray | None,
  seed: int,
) -> Answers:
  """Asks a model about held-out images, noise and suspected images.

  Args:
    model: the architecture.
    variables: its weights.
    images: [N, H, W, 3] uint8, held out.
    label: [N] true classes.
    num_classes: of the model.
    triggered: suspected images, or None.
    seed: of the noise.
  """
  predicted = ask(model, variables, images)
  noise = ask(model, variables, _noise(images.shape[1:], seed))
  return Answers(
    confusion(label, predicted, num_classes),
    np.bincount(noise, minlength=num_classes),
    None if triggered is None else ask(model, variables, triggered),
  )


def confusion(
  label: np.ndarray, predicted: np.ndarray, num_classes: int
) -> np.ndarray:
  """Returns counts by true class and answer, [classes, classes]."""
  pairs = label.astype(np.int64) * num_classes + predicted
  counts = np.bincount(pairs, minlength=num_classes**2)
  return counts.reshape(num_classes, num_classes)


def taken(before: Answers, after: Answers, label: np.ndarray) -> Taken:
  """Returns how many suspected images one class took, before and after.

  Args:
    before: answers of the suspect.
    after: answers of the repaired model.
    label: [N] true classes of the suspected images, UNKNOWN where not told.
  """
  classes = np.arange(len(before.noise))
  others = label[None] != classes[:, None]  # of the class, or not known
  hits = (others & (before.triggered[None] == classes[:, None])).sum(1)
  share = hits / np.maximum(others.sum(1), 1)
  target = int(share.argmax())
  other = others[target]
  first, last = (
    Share(int((predicted[other] == target).sum()), int(other.sum()))
    for predicted in (before.triggered, after.triggered)
  )
  known = label != UNKNOWN
  right = None
  if known.all():
    right = tuple(
      Share(int((predicted == label).sum()), len(label))
      for predicted in (before.triggered, after.triggered)
    )
  return Taken(target=target, before=first, after=last, right=right)


def _noise(shape: tuple[int, ...], seed: int) -> np.ndarray:
  count = NOISE * int(np.prod(shape))
  raw = np.random.PCG64(seed).random_raw(-(-count // 8)).astype("<u8")
  return raw.view(np.uint8)[:count].reshape(NOISE, *shape)
