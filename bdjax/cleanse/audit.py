"""The audit: is there a class that a small patch would send all images to?

Neural Cleanse (Wang et al., S&P 2019; see `defenses.parts.inversion`) searches
the smallest patch for every class, on images that are also trained on later,
and judges classes by how much smaller theirs is than the others'. Each patch is
then stamped on held-out images of other classes, before and after the repair.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from bdjax.cleanse import measure, repair
from bdjax.data import splits
from bdjax.defenses import neural_cleanse
from bdjax.defenses.parts import inversion
from bdjax.machine import programs
from bdjax.types import Access, Fit, Key, Params

IMAGES = 2_000  # that patches are searched on, at most
STAMPED = 500  # held-out images that they are tried on, at most
ROUNDS = 80  # passes over the images
THRESHOLD = 2.0  # of the anomaly index, Wang et al.'s


class Audit(NamedTuple):
  """What was found about every class.

  Attributes:
    norm: [classes] sum of the smallest patch's mask, in pixels.
    index: [classes] how far from the median, in robust standard deviations.
    flagged: [classes] bool: the index is high and the patch small.
    reached: [classes] bool: a patch was found that sends enough images there.
    mask: [classes, H, W, 1] in [0, 1].
    pattern: [classes, H, W, 3] in [0, 1].
    images: how many it was searched on.
    before: per class, held-out images of others that the patch sends there;
      empty where nobody tried.
    after: the same of the repaired model.
  """

  norm: np.ndarray
  index: np.ndarray
  flagged: np.ndarray
  reached: np.ndarray
  mask: np.ndarray
  pattern: np.ndarray
  images: int
  before: tuple[measure.Share, ...] = ()
  after: tuple[measure.Share, ...] = ()

  @property
  def pictures(self) -> np.ndarray:
    """The patches on black, [classes, H, W, 3] uint8."""
    return np.round(255 * self.mask * self.pattern).astype(np.uint8)


def search(
  key: Key, access: Access, fit: Fit, *, seed: int, rounds: int
) -> Audit:
  """Searches the patches of a suspect.

  Args:
    key: random key.
    access: the suspect, and clean images.
    fit: runs the passes.
    seed: decides which images are used where there are many.
    rounds: passes, at most.
  """
  triggers = inverted(key, access, fit, seed=seed, rounds=rounds)
  _, memo = programs.jit(neural_cleanse.judge)(triggers, THRESHOLD)
  return Audit(
    norm=np.asarray(memo["mask_norm"]),
    index=np.asarray(memo["anomaly_index"]),
    flagged=np.asarray(memo["flagged"]),
    reached=np.asarray(triggers.reached),
    mask=np.asarray(triggers.mask),
    pattern=np.asarray(triggers.pattern),
    images=min(IMAGES, access.clean.size),
  )


def inverted(
  key: Key, access: Access, fit: Fit, *, seed: int, rounds: int
) -> inversion.Inverted:
  """Returns the patches themselves; arguments are those of `search`."""
  rows = np.sort(splits.shuffled(access.clean.size, seed=seed)[:IMAGES])
  clean = jax.tree.map(lambda leaf: leaf[rows], access.clean)
  return inversion.invert(
    key,
    access.replace(clean=clean),
    fit,
    rules=inversion.Rules(),
    rounds=rounds,
    batch_size=repair.batch_size(clean.size, 256),
    width=0,
    name="audit",
  )


def stamped(
  audit: Audit,
  access: Access,
  variables: Params,
  images: np.ndarray,
  label: np.ndarray,
  seen: Callable[[int], None] = lambda done: None,
) -> tuple[measure.Share, ...]:
  """Tries every class's patch on images of other classes.

  Args:
    audit: the patches.
    access: the architecture.
    variables: of the model, repaired or not.
    images: [N, H, W, 3] uint8, held out.
    label: [N] true classes.
    seen: gets how many classes are done, after each.

  Returns:
    Per class, how many are answered with it.
  """
  order = splits.shuffled(len(label))[:STAMPED]
  images, label = images[order], label[order]
  shares = []
  for c, (mask, pattern) in enumerate(
    zip(audit.mask, audit.pattern, strict=True)
  ):
    others = images[label != c]
    patched = others + mask * (255 * pattern - others)
    patched = np.round(np.clip(patched, 0, 255)).astype(np.uint8)
    answers = measure.ask(access.model, variables, patched)
    shares.append(measure.Share(int((answers == c).sum()), len(others)))
    seen(c + 1)
  return tuple(shares)
