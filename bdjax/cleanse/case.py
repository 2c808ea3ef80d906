"""The case: a suspect, and clean images divided into two lots.

One lot is trained on; the other, which is held out, says what came of it.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from bdjax.cleanse import forms, labels, measure, orders, suspect
from bdjax.cleanse.clean_images import Images
from bdjax.cleanse.pictures import printable
from bdjax.cleanse.suspect import Suspect
from bdjax.types import Access, Dataset


class Case(NamedTuple):
  """What the work is done on.

  Attributes:
    suspect: the classifier.
    model: its architecture, with its normalization.
    access: what the defender has: the suspect, and images to train on.
    images: all of them.
    held_image: [N, H, W, 3] uint8, held out.
    held_label: [N] int32, their classes.
    facts: what all that is, in words.
    notes: what looks odd about it, in sentences.
    seed: of everything random.
    doubt: what speaks against the images' labels, in sentences, or "".
  """

  suspect: Suspect
  model: nn.Module
  access: Access
  images: Images
  held_image: np.ndarray
  held_label: np.ndarray
  facts: dict[str, str]
  notes: list[str]
  seed: int
  doubt: str = ""


def opened(
  accused: Suspect,
  images: Images,
  *,
  held_out: float,
  seed: int,
  say: Callable[[str], None] = lambda line: None,
) -> Case:
  """Divides the images, and refuses what the suspect cannot be asked about.

  Args:
    accused: the suspect.
    images: clean ones of its classes.
    held_out: share of each class that is held out.
    seed: decides which; of everything random after.
    say: is told what takes a while.

  Raises:
    ValueError: the share or the seed makes no sense, nobody says how images are
      normalized, or the suspect answers them as if it were guessing, or with
      logits that are not finite.
  """
  if not 0 < held_out < 1:
    raise ValueError(f"held_out is {held_out}; give a share between 0 and 1.")
  if not 0 <= seed < 2**32:
    raise ValueError(f"seed is {seed}; give one from 0 to {2**32 - 1}.")
  accused, notes = forms.settled(accused, images, say)
  model, normalization = suspect.build(accused, images.info)
  answers, confidence = measure.predictions(
    model, accused.variables, images.image
  )
  _check_finite(confidence)
  train, held = measure.divided(images.label, rate=held_out, seed=seed)
  clean = Dataset(
    jnp.asarray(images.image[train]), jnp.asarray(images.label[train])
  )
  arguments = ", ".join(f"{k} {v}" for k, v in accused.form.items())
  name = printable(accused.path.name)
  return Case(
    suspect=accused,
    model=model,
    access=Access(accused.variables, clean, model=model, view=images.view),
    images=images,
    held_image=images.image[held],
    held_label=images.label[held],
    facts={
      "Model": f"{name}: {accused.arch}, {arguments}",
      **({"Weights": accused.source} if accused.source else {}),
      "sha256": accused.digest,
      "Clean images": images.source,
      "Classes": images.order,
      "Image size": images.sized,
      "Normalization": normalization,
      "Trained on": f"{len(train)} images",
      "Held out": f"{len(held)} images, the same share of every class",
      "Seed": str(seed),
    },
    notes=[
      *images.notes,
      *notes,
      *_strange_classes(accused, images, answers, notes),
    ],
    seed=seed,
    doubt=_doubt(images, answers, confidence),
  )


def _doubt(images: Images, answers: np.ndarray, confidence: np.ndarray) -> str:
  """Returns what speaks against the labels, in sentences, or ""."""
  folders = labels.mixed(images.label, answers, confidence)
  sentences = (
    labels.doubt(answers == images.label, confidence),
    labels.mixture(folders, images.names),
  )
  return " ".join(filter(None, sentences))


def _check_finite(confidence: np.ndarray) -> None:
  bad = int((~np.isfinite(confidence)).sum())
  if bad:
    raise ValueError(
      f"the suspect's logits are not finite for {bad} of {len(confidence)} "
      "clean images, so that these have no answer: its weights are too large "
      "or its normalization is not --mean and --std; use another copy of it, "
      "or check these."
    )


def _strange_classes(
  accused: Suspect, images: Images, answers: np.ndarray, notes: list[str]
) -> list[str]:
  """Refuses images of which a model's answers show that they are misread.

  It would be taught other classes than its own, and nobody would notice.

  Args:
    accused: the suspect.
    images: the clean ones.
    answers: [N] of the suspect.
    notes: what was tried already.

  Returns:
    Sentences about classes that are mostly answered with another one.

  Raises:
    ValueError: another order of the classes explains the answers, or they are
      right hardly more often than by chance.
  """
  order = orders.seen(images.label, answers, images.names)
  right = _share(answers == images.label)
  better = _share(order.right(images.label, answers))
  if order.value and not forms.guessing(better, accused.num_classes):
    raise ValueError(orders.refusal(order, better, right, images.order))
  if forms.guessing(right, accused.num_classes):
    raise ValueError(
      f"the suspect is right on {right} clean images, which may be guessing: "
      "check --mean, --std, --image_size, --class_order, --weights and --arch, "
      f"or give more images. {' '.join(notes)}".strip()
    )
  counts = measure.confusion(images.label, answers, accused.num_classes)
  return [
    f"Most images of class {c} ({printable(images.names[c])}) are answered "
    f"with class {d} ({printable(images.names[d])}): make sure that the "
    "classes are in the model's order."
    for c, d in enumerate(counts.argmax(1))
    if c != d and 2 * counts[c, d] > counts[c].sum()
  ]


def _share(right: np.ndarray) -> measure.Share:
  return measure.Share(int(right.sum()), len(right))
