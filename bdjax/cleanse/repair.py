"""The repair: a defense by its spec, fitted to the images that there are.

Two things follow from how few images a person has, unless the spec says them:

- Batches are halved until an epoch has ten of them, which is what the field's
  5 % of CIFAR-10 makes with batches of 256, but not below 16: the defenses'
  schedules count epochs, and what changes weights are steps.
- Super-fine-tuning peaks at .3 instead of .1 (its preset `scarce`) with 5,000
  images or fewer: the 10 % of CIFAR's 50,000 at which Sha et al. (arXiv
  2212.09067) found .1 to fail and .3 to do. They did with 10,000. What share
  of the suspect's training set the images are, nobody knows, hence a count.
  Either peak is for batches of 256 and shrinks with them (the linear scaling
  of Goyal et al., arXiv 1706.02677): with 400 images in batches of 32, even
  .1 halves a network's accuracy, and .3 * 32/256 does not
  (docs/results_small.md).
  Some may not stand that: a model whose loss leaves the finite, or that then
  gets a tenth fewer of the images it was trained on right than the suspect
  did, is repaired anew with the lower peak.
"""

from typing import NamedTuple, Optional

import numpy as np

from bdjax.cleanse import measure
from bdjax.methods import registry, signature, specs
from bdjax.runs import methods
from bdjax.training import finite
from bdjax.types import Access, Defended, Defense, Fit, Key, Params

SCARCE = 5_000
BATCHES = 10  # per epoch, at least
SMALLEST = 16  # images per batch
LOST = 0.1  # of the images trained on, with which a model counts as broken


class Broken(ValueError):
  """A model that did not survive its repair."""


class Repair(NamedTuple):
  """A defense that is ready to run.

  Attributes:
    label: its spec, with what was added to it.
    defense: as it was built.
    notes: what was added, in sentences.
    milder: what to run instead if this one breaks the model; or None.
  """

  label: str
  defense: Defense
  notes: tuple[str, ...]
  milder: Optional["Repair"] = None


def chosen(text: str) -> specs.Spec:
  """Returns the one defense that a text names, if it can repair.

  Raises:
    ValueError: it names none or several, an unknown one, or one that needs the
      training set or only detects.
  """
  specified = [
    one for s in specs.parse(text) for one in methods.expanded("defenses", s)
  ]
  if len(specified) != 1:
    raise ValueError(
      f"--defense is {text!r}, but one model is repaired once; name one, such "
      "as super_ft or ft(lr=0.01)."
    )
  (spec,) = specified
  if spec.name == "none":
    raise ValueError("--defense is none, which repairs nothing; name another.")
  defense = _built(spec).built
  if defense.needs_train:
    raise ValueError(
      f"{spec.name} needs the suspect's training set, and clean images are all "
      "there is; take super_ft, or another that needs no more."
    )
  if defense.suspect is not None:
    raise ValueError(
      f"{spec.name} detects triggered images and repairs no model; take "
      "super_ft, or another that repairs."
    )
  return spec


def fitted(spec: specs.Spec, images: int) -> Repair:
  """Returns the defense with what follows from the number of images.

  Args:
    spec: as `chosen`; what it says is not changed.
    images: clean images to train on.
  """
  make = registry.get("defenses", spec.name)
  schema = signature.arguments(make)
  preset = registry.presets("defenses", spec.name).get(spec.preset, {})
  given, added, notes = preset | spec.args, {}, []
  if "batch_size" in schema and "batch_size" not in given:
    usual = schema["batch_size"].default
    size = batch_size(images, usual)
    if size != usual:
      added["batch_size"] = size
      notes.append(
        f"Batches were reduced from {usual} to {size} images, since there are "
        f"only {images} to train on."
      )
  defense = _built(spec).built
  rate = defense.scarce
  if rate is None or spec.preset or rate in given or images > SCARCE:
    return _with(spec, added, notes)
  return _scarce(spec, rate, added, notes, images)


def _with(spec: specs.Spec, added: dict, notes: list[str]) -> Repair:
  method = _built(spec._replace(args=added | spec.args))
  return Repair(method.label, method.built, tuple(notes))


def _scarce(
  spec: specs.Spec, rate: str, added: dict, notes: list[str], images: int
) -> Repair:
  """Returns a defense for scarce data, and what it falls back to."""
  schema = signature.arguments(registry.get("defenses", spec.name))
  usual = schema["batch_size"].default
  size = (added | spec.args).get("batch_size", usual)
  high = registry.presets("defenses", spec.name)["scarce"][rate]
  low = schema[rate].default
  peak, lower = high * size / usual, low * size / usual
  shrunk = f", times {size}/{usual} as batches are" if size != usual else ""
  note = (
    f"The first peak of the learning rate is {peak:g}: {high:g} instead of "
    f"{low:g}, since clean images are scarce ({images} to train on, and its "
    f"authors found the lower one to fail with {SCARCE}){shrunk}."
  )
  milder = (
    f"A first peak of {peak:g} of the learning rate broke the model, so it was "
    f"repaired anew with {lower:g}, with which more of a backdoor may be left."
  )
  first = _with(spec, added | {rate: peak}, [*notes, note])
  again = _with(spec, added | {rate: lower}, [*notes, note, milder])
  return first._replace(milder=again)


def batch_size(images: int, usual: int) -> int:
  """Returns the images of a batch, for few images fewer than usual."""
  size = usual
  while size > SMALLEST and size * BATCHES > images:
    size = max(SMALLEST, size // 2)
  return min(size, images)


def run(
  key: Key, repair: Repair, access: Access, fit: Fit
) -> tuple[Defended, Repair]:
  """Returns the repaired model, and the repair that made it.

  Raises:
    ValueError: the training did not stay finite, or cannot be done.
  """
  if repair.milder is None:
    return _run(key, repair, access, fit), repair
  try:
    state = _run(key, repair, access, fit)
    if (
      _right(access, access.variables) - _right(access, state.variables) < LOST
    ):
      return state, repair
  except Broken:
    pass  # said by the milder one's notes
  return _run(key, repair.milder, access, fit), repair.milder


def _run(key: Key, repair: Repair, access: Access, fit: Fit) -> Defended:
  try:
    state = repair.defense.defend(key, access, fit)
  except FloatingPointError as fault:
    raise Broken(
      f"{repair.label} broke the model ({fault}) Nothing was written."
    ) from None
  if not finite.finite(state.variables):
    raise Broken(
      f"{repair.label} left weights that are not finite; lower its learning "
      "rate. Nothing was written."
    )
  return state


def _right(access: Access, variables: Params) -> float:
  """Returns the share of the images to train on that a model gets right."""
  images, label = np.asarray(access.clean.image), np.asarray(access.clean.label)
  return float((measure.ask(access.model, variables, images) == label).mean())


def _built(spec: specs.Spec) -> methods.Method:
  section = {"name": str(spec)}
  try:
    (one,) = methods.methods("defenses", section, {}, reserved=methods.DEFENDER)
  except ValueError as error:
    raise ValueError(_typed(str(error))) from error
  return one


def _typed(text: str) -> str:
  """Returns a refusal with the flag that says the defense."""
  return text.replace("defense.name=", "--defense=")
