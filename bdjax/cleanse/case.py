"""The case: a suspect, and clean images divided into two lots.

One lot is trained on; the other, which is held out, says what came of it.
"""

from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from bdjax.cleanse import measure, suspect
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


def opened(
  accused: Suspect, images: Images, *, held_out: float, seed: int
) -> Case:
  """Divides the images, and refuses what the suspect cannot be asked about.

  Args:
    accused: the suspect.
    images: clean ones of its classes.
    held_out: share of each class that is held out.
    seed: decides which; of everything random after.

  Raises:
    ValueError: the share makes no sense, nobody says how images are
      normalized, or the suspect answers them as if it were guessing.
  """
  if not 0 < held_out < 1:
    raise ValueError(f"held_out is {held_out}; give a share between 0 and 1.")
  model, normalization = suspect.build(accused, images.info)
  train, held = measure.divided(images.label, rate=held_out, seed=seed)
  clean = Dataset(
    jnp.asarray(images.image[train]), jnp.asarray(images.label[train])
  )
  arguments = ", ".join(f"{k} {v}" for k, v in accused.arguments.items())
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
      "sha256": accused.digest,
      "Clean images": images.source,
      "Classes": images.order,
      "Image size": images.sized,
      "Normalization": normalization,
      "Trained on": f"{len(train)} images",
      "Held out": f"{len(held)} images, the same share of every class",
      "Seed": str(seed),
    },
    notes=[*images.notes, *_strange_classes(model, accused, images)],
    seed=seed,
  )


def _strange_classes(
  model: nn.Module, accused: Suspect, images: Images
) -> list[str]:
  """Refuses images that a model answers as if it were guessing.

  It would be taught other classes than its own, and nobody would notice.

  Args:
    model: the architecture.
    accused: the suspect.
    images: the clean ones.

  Returns:
    Sentences about classes that are mostly answered with another one.

  Raises:
    ValueError: it is right no more often than by chance, as far as the number
      of images can tell.
  """
  answers = measure.ask(model, accused.variables, images.image)
  counts = measure.confusion(images.label, answers, accused.num_classes)
  size = counts.sum(1)
  right = measure.Share(int(np.trace(counts)), int(size.sum()))
  strange = [
    f"Most images of class {c} ({printable(images.names[c])}) are answered "
    f"with class {d} ({printable(images.names[d])}): make sure that the "
    "classes are in the model's order."
    for c, d in enumerate(counts.argmax(1))
    if c != d and 2 * counts[c, d] > size[c]
  ]
  if right.interval[0] <= 1 / accused.num_classes:
    raise ValueError(
      f"the suspect is right on {right} clean images, which may be guessing: "
      "check --mean, --std, --image_size and the order of the classes (list it "
      f"with --classes FILE), or give more images. {' '.join(strange[:1])}"
    )
  return strange
