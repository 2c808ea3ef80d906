"""The verdict in plain words: what was found, what was done, what is unproved.

Every number in it is one that was measured on the user's model and images.
"""

from typing import NamedTuple

import numpy as np

from bdjax.cleanse import audit as audits
from bdjax.cleanse.result import Result

_FEW = 3  # classes below which none can stand out


class Verdict(NamedTuple):
  """A headline, and sentences of each kind."""

  headline: str
  findings: list[str]
  done: list[str]
  unproved: list[str]


def of(result: Result) -> Verdict:
  """Returns the verdict on a result."""
  accuracy = result.accuracy[0]
  return Verdict(
    headline=_headline(result),
    findings=[
      f"Accuracy of the suspect on held-out images: {accuracy}.",
      *([result.doubt] if result.doubt else []),
      *_audited(result),
      *_suspected(result),
      *_wrong(result),
    ],
    done=_done(result),
    unproved=_unproved(result),
  )


def text(verdict: Verdict) -> str:
  """Returns a verdict as lines of text."""
  lines = [verdict.headline]
  for title, sentences in (
    ("Found", verdict.findings),
    ("Done", verdict.done),
    ("Not proved", verdict.unproved),
  ):
    lines += ["", f"{title}:", *(f"- {sentence}" for sentence in sentences)]
  return "\n".join(lines)


def _headline(result: Result) -> str:
  if result.lifted:
    return (
      "Doubtful: the repair raised the accuracy by far, which it cannot where "
      "a model is read as it was trained."
    )
  if result.taught:
    names = ", ".join(map(result.called, result.taught))
    return (
      f"Doubtful: the suspect takes most images of {names} for one other "
      "class, and was taught otherwise."
    )
  if result.doubt:
    return "Doubtful: the clean images seem to have wrong labels."
  audit, taken = result.audit, result.taken
  if audit is not None and audit.flagged.any():
    names = [result.called(c) for c in np.flatnonzero(audit.flagged)]
    if len(names) == 1:
      names, verb = f"class {names[0]}", "stands"
    else:
      names, verb = f"classes {', '.join(names)}", "stand"
    return f"Suspicious: {names} {verb} out as a backdoor's target would."
  if taken is not None and result.striking:
    return (
      f"Suspicious: most of the suspected images get class "
      f"{result.called(taken.target)}."
    )
  if audit is None:
    return "Repaired, and not audited: no backdoor was looked for."
  if len(result.names) < _FEW:
    return "No finding: none of two classes can stand out from the others."
  if audit.reached.sum() < _FEW:
    return (
      f"No finding: a patch was found {_reached(result)}, too few to judge."
    )
  return "No class stands out, which does not prove that the model is clean."


def _audited(result: Result) -> list[str]:
  audit = result.audit
  if audit is None:
    return []
  sentences = [_patch(result, c) for c in np.flatnonzero(audit.flagged)]
  judged = len(result.names) >= _FEW and audit.reached.sum() >= _FEW
  if judged and not sentences:
    highest = float(np.where(audit.reached, audit.index, 0).max())
    sentences.append(
      f"No class was flagged: none has both a patch smaller than most and an "
      f"anomaly index above {audits.THRESHOLD:g} (the highest of any patch, "
      f"small or large, is {highest:.1f})."
    )
  lost = int((~audit.reached).sum())
  if lost:
    sentences.append(
      f"For {lost} of {len(audit.reached)} classes no patch was found that "
      "sends enough images there."
    )
  return sentences


def _reached(result: Result) -> str:
  """Returns in words for which classes a patch was found, if for few."""
  names = [result.called(c) for c in np.flatnonzero(result.audit.reached)]
  return f"for {' and '.join(names)} alone" if names else "for no class"


def _patch(result: Result, c: int) -> str:
  audit = result.audit
  pixels = audit.mask[c].size
  found = (
    f"Class {result.called(c)} was flagged: its patch has the weight of "
    f"{audit.norm[c]:.1f} of {pixels} pixels, and an anomaly index of "
    f"{audit.index[c]:.1f}, where more than {audits.THRESHOLD:g} is suspicious."
  )
  if not audit.before:
    return found
  return (
    f"{found} It sends {audit.before[c]} held-out images of other classes "
    f"there, where without it {result.before.drawn(c)} go; after the repair "
    f"it sends {audit.after[c]}."
  )


def _suspected(result: Result) -> list[str]:
  taken = result.taken
  if taken is None:
    return []
  sentences = [
    f"Of the suspected images, class {result.called(taken.target)} took "
    f"{taken.before}, which is the attack's success rate if they carry its "
    f"trigger; after the repair {taken.after}.",
    f"To compare: chance is {result.chance}, and of clean held-out images"
    f"{' of other classes' if taken.right else ''} the suspect gives that "
    f"class {result.usual}.",
  ]
  if taken.right is None:
    sentences.append(
      "Their folder does not tell their classes, so that images which really "
      "are of that class count too, and rightly stay there."
    )
  else:
    before, after = taken.right
    sentences.append(
      f"Suspected images answered with the class of their folder: {before}; "
      f"after the repair {after}."
    )
  return sentences


def _wrong(result: Result) -> list[str]:
  wrong = result.before.confusion.copy()
  np.fill_diagonal(wrong, 0)
  total, drawn = int(wrong.sum()), wrong.sum(0)
  c = int(drawn.argmax())
  sentences = []
  if total:
    sentences.append(
      f"Of the suspect's {total} wrong answers on held-out images, {drawn[c]} "
      f"are class {result.called(c)}, the most of any; spread evenly it would "
      f"be {total / len(drawn):.1f}."
    )
  noise = result.before.noise
  c = int(noise.argmax())
  return sentences + [
    f"Of {noise.sum()} images of noise, {noise[c]} are answered with class "
    f"{result.called(c)}; spread evenly it would be "
    f"{noise.sum() / len(noise):.0f}, but clean models have favourites too."
  ]


def _done(result: Result) -> list[str]:
  before, after = result.accuracy
  if result.moved == 0:
    return [
      *result.notes,
      f"{result.defense} left every weight as it was, so the output is the "
      "suspect itself.",
    ]
  sentences = [
    *result.notes,
    f"{result.defense} changed the weights by {100 * result.moved:.1f} % of "
    "their norm.",
    f"Accuracy on held-out images after the repair: {after}.",
  ]
  if result.lifted:
    sentences.append(
      "That is far above the suspect's, so that the suspect was likely asked "
      "in another way than it was trained (its form, the size or normalization "
      "of images, the order of classes), and the output fits that way alone: "
      "do not use it before you know which is right."
    )
  if result.taught or result.doubt:
    sentences.append(
      "The output was taught the labels that the clean images have: if these "
      "are not the suspect's classes, do not use it."
    )
  if after.interval[1] < before.interval[0]:
    sentences.append(
      "The repair cost accuracy, by more than chance explains. More clean "
      "images may cost less; so may neural_cleanse, which unlearns the patch "
      "that it finds, or ft(lr=0.01), which may leave more of a backdoor."
    )
  return sentences


def _unproved(result: Result) -> list[str]:
  sentences = list(result.left_out)
  if result.audit is not None:
    sentences.append(
      "The search looks for small patches. A trigger that covers or warps the "
      "whole image, or differs from image to image, can leave no class "
      "standing out; and of clean models, too, some have a class that does."
    )
  if result.taken is None:
    sentences.append(
      "Without images that carry the real trigger nobody has measured whether "
      "the repair removed it: give some with --triggered if you have any."
    )
  else:
    sentences.append(
      "The suspected images tell about their own trigger alone; the class was "
      "chosen as the one that most of them get, which flatters it if they are "
      "few."
    )
  sentences.append(
    "A backdoor that no longer answers may still be dormant: some are trained "
    "to survive fine-tuning, and some come back when a model is tuned further."
  )
  sentences.append(
    "The clean images are taken on trust. If some carry the trigger, so may "
    "what was learned from them, and the accuracies here."
  )
  return sentences
