"""Whether a model tells of a defense at all, and by which rate it is judged."""

from typing import Any

NONE = "none"  # the defense that leaves the model alone
CLASSES = 10  # of what records without a number of classes are of
STANDING = " before"  # ends the name of what stands for an undefended model


def stands_in(record: dict[str, Any]) -> bool:
  """Returns whether a record stands for an undefended model without a cell."""
  return record["cell"].endswith(STANDING)


def moved(scenario: str) -> bool:
  """Returns whether defended models have a new head, in a task of others."""
  return scenario.startswith("transfer")


def success(record: dict[str, Any]) -> str:
  """Returns which rate says what is left of a backdoor: asr, or collapse.

  A transfer gives the model a new head, in which the target's index is that of
  some other class: what counts there is the largest share of other classes'
  triggered images that one class takes (Sha et al., section 2.2: "all lead to
  the same (but random) class").
  """
  other = moved(record["scenario"]) and record["defense"] != NONE
  return "collapse" if other else "asr"


def chance(record: dict[str, Any]) -> float:
  """Returns the share of images that guessing gives to any one class."""
  return 1 / (record.get("classes") or CLASSES)


def destroyed(record: dict[str, Any]) -> bool:
  """Returns whether a defense took most of what a model had learned.

  That is more than half of the accuracy that it had above chance, or that a
  clean model has where the model came from another task; there also what leaves
  no classifier, since it may ruin the clean model alike. One such seed is
  enough: a mean over a ruin and a cure is neither.

  Args:
    record: of a cell, or a row of `results.summarize`, which counts `ruins`.
  """
  if "ruins" in record:
    return record["ruins"] > 0
  after, before = record["ca"], record["ca_before"]
  if after is None:
    return False
  if before is None and _knows_nothing(after, chance(record)):
    return True
  before = record.get("clean_ca") if before is None else before
  if before is None:
    return False
  guess = chance(record)
  return after - guess < (before - guess) / 2


def untaught(record: dict[str, Any]) -> bool:
  """Returns whether a model was no classifier before any defense.

  Its accuracy was then at chance, or less than a tenth of the way from there to
  1 (chosen here): an ASR of such a model is no backdoor, since whatever always
  answers the target class has one of 1. One such seed is enough, as of ruins.

  Args:
    record: of a cell, or a row of `results.summarize`, which counts `blanks`.
      Where a model came from another task, its accuracy is that in its own.
  """
  if "blanks" in record:
    return record["blanks"] > 0
  before, guess = record["ca_before"], chance(record)
  if before is None and record.get("ca_planted") is not None:
    before = record["ca_planted"]
    guess = chance({"classes": record["classes_planted"]})
  return before is not None and _knows_nothing(before, guess)


def _knows_nothing(accuracy: float, guess: float) -> bool:
  return accuracy - guess < (1 - guess) / 10
