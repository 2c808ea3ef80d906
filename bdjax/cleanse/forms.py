"""The form of a suspect's network: what its weights leave open.

Strides, pools and activations are not in a file of weights. The usual ones are
taken, unless the suspect answers the clean images right far more often with
others: a network in a wrong form is another network, and a repair would fit it
to a form in which nobody runs it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from bdjax.cleanse import measure, orders, suspect
from bdjax.cleanse.clean_images import Images
from bdjax.cleanse.measure import Share
from bdjax.cleanse.orders import Order
from bdjax.cleanse.suspect import Suspect
from bdjax.data import splits
from bdjax.interop import tables

TRIED = 400  # images, at most, on which forms are compared
_FEWEST = 64  # of them, if they are large
_PIXELS = 2**20  # of all of them, if so
CERTAIN = 0.97  # right on so many, a form needs no comparison
_APART = 0.1  # of the answers, in which forms that are both right may differ
_GAIN = 0.05  # of the answers, in which another form must be better
_ROUNDS = 3  # of varying all, at most
_NAMED = 3  # of the forms that were not taken, the best
_NEAR = 0.2  # of the way from chance to always right


class Trial(NamedTuple):
  """A form, and what the suspect answers in it.

  Attributes:
    suspect: with the form's arguments.
    form: what is not usual about it, in words.
    answers: [N].
    right: [N] bool, in the order of classes that explains most.
    order: that one.
  """

  suspect: Suspect
  form: str
  answers: np.ndarray
  right: np.ndarray
  order: Order

  @property
  def share(self) -> Share:
    """How many answers are right."""
    return Share(int(self.right.sum()), len(self.right))

  def beats(self, other: "Trial") -> bool:
    """Returns whether it is right far more often, and not by chance.

    Or no less often, where the other is so only in another order of classes.
    """
    if other.order.value and not self.order.value:
      return self.share.hits >= other.share.hits
    gained = int((self.right & ~other.right).sum())
    lost = int((other.right & ~self.right).sum())
    far = gained - lost >= _GAIN * len(self.right)
    return far and Share(gained, gained + lost).interval[0] > 0.5


def settled(
  accused: Suspect,
  images: Images,
  say: Callable[[str], None] = lambda line: None,
) -> tuple[Suspect, list[str]]:
  """Returns a suspect in its right form, and notes on how that was told.

  One argument after the other is varied, and kept where that helps; then again,
  since an activation that helps in wrong blocks may not in the right ones.

  Args:
    accused: the suspect in the usual form.
    images: clean ones.
    say: is told how often each is right, since each is compiled anew.

  Raises:
    ValueError: forms that answer differently are right as often.
  """
  count = _PIXELS // images.image[0, ..., 0].size
  order = splits.shuffled(len(images.label))
  rows = np.sort(order[: max(_FEWEST, min(TRIED, count))])
  tried = [_tried(accused, images, rows, {})]
  taken = tried[0]
  say(f"With {taken.form} it is right on {taken.share}.")
  if taken.share.rate >= CERTAIN and not taken.order.value:
    return accused, []
  for _ in range(_ROUNDS):
    before, taken = taken, _varied(accused, taken, tried, images, rows, say)
    if taken is before:
      break
  if guessing(taken.share, accused.num_classes):
    if len(tried) == 1:
      return accused, []
    best = max(tried[1:], key=lambda trial: trial.share.hits)
    return accused, [
      f"None of {len(tried) - 1} other forms that the weights leave open makes "
      f"sense either (the best, {best.form}, is right on {best.share})."
    ]
  others = [trial for trial in tried if trial is not taken]
  _check_clear(taken, others)
  _check_size(taken, accused, images, rows)
  return taken.suspect, _notes(taken, others)


def _varied(
  accused: Suspect,
  taken: Trial,
  tried: list[Trial],
  images: Images,
  rows: np.ndarray,
  say: Callable[[str], None],
) -> Trial:
  """Returns the form that comes of varying one thing after the other.

  Args:
    accused: the suspect as the user gave it.
    taken: the best form so far.
    tried: all of them, to which others are added.
    images: clean ones.
    rows: of them, that are asked about.
    say: is told of each.
  """
  for name, values in tables.left_open(accused.arch, accused.arguments).items():
    if name in accused.chosen:
      continue
    for value in values:
      other = suspect.formed(taken.suspect, {name: value})
      if _spec(other) not in {_spec(trial.suspect) for trial in tried}:
        trial = _tried(taken.suspect, images, rows, {name: value})
        tried.append(trial)
        say(f"With {trial.form} on {trial.share}.")
    best = max(tried, key=_rank)
    taken = best if best.beats(taken) else taken
  return taken


def _rank(trial: Trial) -> tuple[int, bool]:
  return trial.share.hits, not trial.order.value


def guessing(right: Share, num_classes: int) -> bool:
  """Returns whether answers are so near chance that they may be guesses."""
  chance = 1 / num_classes
  near = right.rate - chance < _NEAR * (1 - chance)
  return near or right.interval[0] <= chance


def _tried(
  accused: Suspect, images: Images, rows: np.ndarray, changed: dict[str, Any]
) -> Trial:
  accused = suspect.formed(accused, changed)
  model, _ = suspect.build(accused, images.info)
  label = images.label[rows]
  answers = measure.ask(model, accused.variables, images.image[rows])
  order = orders.seen(label, answers, images.names)
  form = ", ".join(f"{k}={v}" for k, v in accused.chosen.items())
  right = order.right(label, answers)
  return Trial(accused, form or "the usual form", answers, right, order)


def _check_size(
  taken: Trial, accused: Suspect, images: Images, rows: np.ndarray
) -> None:
  """Refuses images that are likely larger than the suspect's.

  A stem makes up for them, or the suspect is better with smaller ones.
  """
  stemmed = "stem" in taken.suspect.chosen and "stem" not in accused.chosen
  height, width = images.image.shape[1:3]
  if images.info is not None or "img_size" in accused.facts:
    return
  for factor in (2, 4):
    if height % factor or width % factor or min(height, width) < 8 * factor:
      return
    blocks = images.image[rows].reshape(
      len(rows), height // factor, factor, width // factor, factor, 3
    )
    small = images._replace(
      image=blocks.mean((2, 4)).astype(np.uint8), label=images.label[rows]
    )
    asked = accused if stemmed else taken.suspect
    trial = _tried(asked, small, np.arange(len(rows)), {})
    if not taken.beats(trial) if stemmed else trial.beats(taken):
      raise ValueError(
        f"the suspect is right on {taken.share} clean images with "
        f"{taken.form}, and on {trial.share} in {trial.form} with images of "
        f"{height // factor} x {width // factor}: give --image_size "
        f"{height // factor}, or {height} if that is the size it takes."
      )


def _check_clear(taken: Trial, others: list[Trial]) -> None:
  """Refuses two forms of which nobody can say which is right."""
  for other in others:
    apart = (taken.answers != other.answers).mean()
    if taken.suspect.arguments == other.suspect.arguments:
      continue  # its channels alone are others: see _channel_notes
    if apart > _APART and not taken.beats(other):
      form = _spec(taken.suspect)
      raise ValueError(
        "the weights leave open which network they are of, and the clean "
        f"images do not tell: {taken.form} is right on {taken.share}, "
        f"{other.form} on {other.share}; check --mean, --std and "
        "--image_size, then give more images, or the form, such as --arch "
        f"'{form}'."
      )


def _spec(accused: Suspect) -> str:
  """Returns what `--arch` must say of a suspect that is in no other form."""
  forms = tables.left_open(accused.arch, accused.arguments)
  pairs = (f"{k}={accused.form.get(k, v[0])}" for k, v in forms.items())
  return f"{accused.arch}({', '.join(pairs)})"


def _channel_notes(taken: Trial, others: list[Trial]) -> list[str]:
  """Returns what is said of an order of channels that may be the right one.

  A network that hardly looks at colours answers well in both, and a repair in
  either fits it: no reason to refuse it.
  """
  for other in others:
    same = taken.suspect.arguments == other.suspect.arguments
    if same and other.share.hits > taken.share.hits:
      return [
        f"The suspect takes channels as {taken.suspect.channels}, in which it "
        f"is right on {taken.share}, as {other.suspect.channels} on "
        f"{other.share}, which is too near to tell: if it was trained so, give "
        f"--arch '{_spec(other.suspect)}'."
      ]
  return []


def _notes(taken: Trial, others: list[Trial]) -> list[str]:
  if not others:
    return []
  ranked = sorted(others, key=lambda trial: -trial.share.hits)
  rates = [f"{100 * trial.share.rate:.1f} %" for trial in ranked]
  rest = [
    f"{trial.form} {rate}"
    for trial, rate in zip(ranked, rates[:_NAMED], strict=False)
  ]
  if len(ranked) > _NAMED:
    rest.append(f"{len(ranked) - _NAMED} more at most {rates[_NAMED]}")
  return [
    f"Of the forms that the weights leave open, {taken.form} was taken, right "
    f"on {taken.share} clean images (the others: {'; '.join(rest)}).",
    *_channel_notes(taken, others),
  ]
