"""The suspect: a classifier from a file, built as its weights tell.

Weights tell the number of classes and the width; see `facts` for what they do
not tell, and `forms` for what only answers do.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np

from bdjax.cleanse import architectures, facts
from bdjax.cleanse.pictures import printable
from bdjax.data import Info
from bdjax.interop import layouts, naming, tables, tensors
from bdjax.interop.refusals import about, listed
from bdjax.methods import registry
from bdjax.types import Params

_LARGEST = 2048  # image side


class Suspect(NamedTuple):
  """A classifier whose weights are read.

  Attributes:
    path: its file, or the index of its files.
    arch: its architecture's name.
    layout: which of PyTorch's ways to name its modules the file uses.
    arguments: of the architecture's `make`, without the normalization.
    chosen: what no weights tell and is not just usual: of them, and `channels`.
    renamed: names of tensors that the file has otherwise than the layout.
    source: which of the file's weights these are, in words; "" for all.
    variables: its weights and statistics, which take red first.
    facts: what else is said of it: value and who says so, by name.
    digest: sha256 of the file, in hex.
  """

  path: Path
  arch: str
  layout: str
  arguments: dict[str, Any]
  variables: Params
  facts: dict[str, tuple[Any, str]]
  digest: str
  chosen: dict[str, Any] = {}
  renamed: dict[str, str] = {}
  source: str = ""

  @property
  def num_classes(self) -> int:
    """Number of classes."""
    return self.arguments["num_classes"]

  @property
  def form(self) -> dict[str, Any]:
    """All that its file or the user tells of how it is built."""
    return self.arguments | self.chosen

  @property
  def channels(self) -> str:
    """The order in which its file's first layer takes an image's channels."""
    return self.chosen.get("channels", tables.CHANNELS[0])

  def named(self, variables: Params) -> dict[str, np.ndarray]:
    """Returns a model's variables as the suspect's file has them."""
    if self.channels == "bgr":
      variables = layouts.with_channels_reversed(variables, self.arch)
    arrays = layouts.to_torch(variables, self.arch, layout=self.layout)
    return {self.renamed.get(name, name): x for name, x in arrays.items()}


def load(
  path: Path,
  *,
  arch: str | None,
  flags: Mapping[str, Any],
  weights: str | None = None,
) -> Suspect:
  """Reads a classifier; nothing in its file is run.

  Args:
    path: a PyTorch or safetensors file, or what `tensors.read` finds by it.
    arch: a name in `tables.ARCHITECTURES`, or another spelling of it, and in
      brackets what no weights tell: resnet18(stem=cifar_pool); None if the file
      says.
    flags: facts that the user gave; None for those not given.
    weights: which are taken of several; see `tensors.read`.

  Raises:
    ValueError: the file is refused, or is not of that architecture.
  """
  loaded = tensors.read(path, weights=weights)
  path = loaded.place
  statements = facts.collected(path, loaded.metadata, flags)
  arch, form = architectures.asked(path, statements, arch, loaded.tensors)
  with about(path):
    arguments, variables = layouts.to_flax(loaded.tensors, arch)
    place = naming.seen(loaded.tensors, arch)
    kept = place.taken()  # others may be many views of one storage
    tensors.check_finite({name: loaded.tensors[name] for name in kept})
  statements |= facts.normalized(place, loaded.tensors, statements)
  form = architectures.form(arch, arguments, form)
  if "size" in arguments and not arguments.get("resize"):
    statements["img_size"] = _only_size(arguments["size"], statements)
  channels = layouts.first_kernel(variables, arch).shape[2]
  if channels != 3:
    raise ValueError(
      f"{printable(path)} takes images of {channels} channels, but only "
      "colour images, of 3, are read; give another model."
    )
  accused = Suspect(
    path=path,
    arch=arch,
    layout=place.layout.name,
    arguments=arguments,
    variables=variables,
    facts=statements,
    digest=_digest(loaded.files),
    renamed={k: v for k, v in place.names.items() if k != v},
    source=_source(loaded, place),
  )
  return formed(accused, form)


def _only_size(
  side: int, statements: Mapping[str, tuple[Any, str]]
) -> tuple[tuple[int, int], str]:
  """Returns the one size that a transformer takes, and who says so.

  Raises:
    ValueError: a flag says another.
  """
  size, by = statements.get("img_size", ((), ""))
  if by == "a flag" and size != (side, side):
    raise ValueError(
      f"--image_size is {size[0]}, but the weights are of a transformer that "
      f"takes images of {side} x {side} alone; leave out --image_size."
    )
  return (side, side), "the weights"


def formed(accused: Suspect, form: Mapping[str, Any]) -> Suspect:
  """Returns a suspect in another form.

  Args:
    accused: the suspect.
    form: what `tables.left_open` lists, with other values.
  """
  other = accused._replace(
    arguments=accused.arguments
    | {name: value for name, value in form.items() if name != "channels"},
    chosen=accused.chosen | form,
  )
  if other.channels == accused.channels:
    return other
  statements = dict(accused.facts)
  for name in ("mean", "std"):
    value, by = statements.get(name, ((), ""))
    if by.startswith(facts.OWN):
      statements[name] = value[::-1], by
  variables = layouts.with_channels_reversed(accused.variables, accused.arch)
  return other._replace(variables=variables, facts=statements)


def _digest(files: Sequence[Path]) -> str:
  """Returns the sha256 of files, one after the other."""
  digest = hashlib.sha256()
  for path in files:
    with open(path, "rb") as file:
      while block := file.read(2**20):
        digest.update(block)
  return digest.hexdigest()


def _source(loaded: tensors.Loaded, place: naming.Seen) -> str:
  """Returns which of a file's weights were taken, and what was left, in words.

  Returns:
    "" where the file holds nothing else.
  """
  remarks = [printable(loaded.taken)] if loaded.taken else []
  if loaded.others:
    remarks.append(
      f"not {printable(', '.join(loaded.others))}, which --weights takes"
    )
  if place.prefix:
    remarks.append(f"names without their prefix {printable(place.prefix)}")
  if place.rest:
    remarks.append(f"without {listed(place.rest)}")
  return ", ".join(remarks)


def shape(suspect: Suspect, info: Info | None) -> tuple[int, int, int] | None:
  """Returns the shape of the images that a model takes, None if nobody says.

  Args:
    suspect: the model.
    info: of the dataset that is named, if one is.

  Raises:
    ValueError: the size that is said makes no sense.
  """
  if "img_size" not in suspect.facts:
    return info.shape if info else None
  size, by = suspect.facts["img_size"]
  sides = [side for side in size if side > 4 or len(size) < 3][:2]
  if not sides or max(sides) > _LARGEST or min(sides) < 4:
    raise ValueError(
      f"the image size is {size} according to {by}; give --image_size, between "
      f"4 and {_LARGEST}."
    )
  return (sides[0], sides[-1], 3)


def build(suspect: Suspect, info: Info | None) -> tuple[nn.Module, str]:
  """Returns the model with its normalization, and in words whose that is.

  Raises:
    ValueError: nobody says how images are normalized, or it makes no sense.
  """
  levels = {}
  for name in ("mean", "std"):
    if name in suspect.facts:
      levels[name] = suspect.facts[name]
    elif info is not None:
      levels[name] = getattr(info, name), f"dataset {info.name}"
    else:
      raise ValueError(
        f"nothing says by which {name} the images were normalized for "
        f"{printable(suspect.path)}; give --mean and --std (0 and 1 if not at "
        "all), or name a dataset as --images."
      )
  (mean, mean_by), (std, std_by) = levels["mean"], levels["std"]
  mean, std = _three("mean", mean, mean_by), _three("std", std, std_by)
  if min(std) <= 0:
    raise ValueError(
      f"std is {std} according to {std_by}, but must be above 0; give --std."
    )
  by = mean_by if mean_by == std_by else f"{mean_by} and {std_by}"
  make = registry.get("models", suspect.arch)
  model = make(**suspect.arguments, mean=mean, std=std)
  return model, f"mean {_numbers(mean)}, std {_numbers(std)}, from {by}"


def _numbers(values: tuple[float, ...]) -> str:
  return ", ".join(f"{value:g}" for value in values)


def _three(name: str, given: Any, by: str) -> tuple[float, ...]:
  values = tuple(map(float, given)) * (3 if len(given) == 1 else 1)
  if len(values) != 3 or not all(map(math.isfinite, values)):
    raise ValueError(
      f"{name} is {given} according to {by}, but must be one number, or three, "
      f"for red, green and blue; give --{name}."
    )
  if max(map(abs, values)) > 1:
    raise ValueError(
      f"{name} is {given} according to {by}, which is of pixels in 0 to 255; "
      f"give --{name} of pixels in 0 to 1, which is a 255th of it."
    )
  return values
