"""From a suspect's file and clean images to a repaired file and a report."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from bdjax.cleanse import audit as audits
from bdjax.cleanse import (
  clean_images,
  measure,
  outputs,
  repair,
  suspect,
  weights,
)
from bdjax.cleanse.audit import Audit
from bdjax.cleanse.clean_images import Images
from bdjax.cleanse.pictures import printable
from bdjax.cleanse.result import Result
from bdjax.cleanse.suspect import Suspect
from bdjax.interop import layouts
from bdjax.machine import storage
from bdjax.runs import experiment
from bdjax.training import loop
from bdjax.training.progress import Display
from bdjax.types import Access, Dataset, Params


class Parts(NamedTuple):
  """What the work is done on.

  Attributes:
    found: the suspect.
    model: the architecture, with its normalization.
    access: what the defender has: the suspect, and images to train on.
    held: rows of the images that are held out.
    images: all of them.
    facts: what all that is, in words.
    notes: what looks odd about it, in sentences.
    seed: of everything random.
  """

  found: Suspect
  model: nn.Module
  access: Access
  held: np.ndarray
  images: Images
  facts: dict[str, str]
  notes: list[str]
  seed: int


def cleanse(
  model: str | Path,
  images: str | Path,
  out: str | Path,
  *,
  arch: str | None = None,
  defense: str = "super_ft",
  audit: bool = False,
  triggered: str | Path | None = None,
  classes: str | Path | None = None,
  image_size: int | None = None,
  mean: Sequence[float] | None = None,
  std: Sequence[float] | None = None,
  held_out: float = 0.2,
  seed: int = 0,
  force: bool = False,
  data_dir: str | None = None,
  console: Console | None = None,
) -> Result:
  """Repairs a classifier with clean images, and reports what it found and did.

  Writes `out` and, beside it, a page of the same name that ends in .html.

  Args:
    model: a PyTorch or safetensors file; nothing in it is run.
    images: a folder with one folder of clean images per class, or the name of
      a dataset, whose test split is taken: images the suspect has not seen.
    out: the repaired model under PyTorch's names: a .safetensors file, or a .pt
      where PyTorch is installed.
    arch: the architecture; None if the model's file says.
    defense: a spec, such as `ft(lr=0.01)`.
    audit: whether a backdoor is looked for.
    triggered: a folder of images that are suspected to carry a trigger.
    classes: a file with the classes' names in the model's order.
    image_size: side of the images that the model takes, in pixels.
    mean: of pixels in [0, 1], subtracted first; one number, or one a channel.
    std: of pixels in [0, 1], divided by next.
    held_out: share of the clean images that is never trained on.
    seed: of the division, the training and the noise.
    force: whether files that are there already may be replaced.
    data_dir: folder of the datasets.
    console: where progress is shown; None shows none.

  Raises:
    ValueError: anything is wrong; says what, and what to do. Nothing is written
      then.
  """
  start = time.perf_counter()
  _check_local(
    model=model, images=images, out=out, triggered=triggered, classes=classes
  )
  model, out = Path(model), Path(out)
  page = outputs.check(model, out, force=force)
  spec = repair.chosen(defense)
  flags = _flags(image_size, mean, std)
  found = suspect.load(model, arch=arch, flags=flags)
  read = clean_images.read(
    found, images, triggered=triggered, classes=classes, data_dir=data_dir
  )
  parts = _parts(found, read, held_out=held_out, seed=seed)
  fixed = repair.fitted(spec, parts.access.clean.size)
  work = _work(parts, fixed, audit, console or Console(quiet=True))
  seen = _measured(parts, *work)
  took = time.perf_counter() - start
  result = Result(out=out, report=page, seconds=took, **seen)
  shape = read.image.shape[1:]
  outputs.write(result, found, parts.model, work[0], shape=shape, force=force)
  return result


def _check_local(**paths: str | Path | None) -> None:
  for name, path in paths.items():
    if path is not None:
      storage.local(path, f"--{name}")


def _flags(
  image_size: int | None,
  mean: Sequence[float] | None,
  std: Sequence[float] | None,
) -> dict[str, Any]:
  return {
    "img_size": None if image_size is None else (image_size, image_size),
    "mean": None if mean is None else tuple(mean),
    "std": None if std is None else tuple(std),
  }


def _parts(
  found: Suspect, read: Images, *, held_out: float, seed: int
) -> Parts:
  """Divides the images, and refuses what the suspect cannot be asked about."""
  if not 0 < held_out < 1:
    raise ValueError(f"held_out is {held_out}; give a share between 0 and 1.")
  model, normalization = suspect.build(found, read.info)
  train, held = measure.divided(read.label, rate=held_out, seed=seed)
  clean = Dataset(
    jnp.asarray(read.image[train]), jnp.asarray(read.label[train])
  )
  access = Access(found.variables, clean, model=model, view=read.view)
  arguments = ", ".join(f"{k} {v}" for k, v in found.arguments.items())
  facts = {
    "Model": f"{printable(found.path.name)}: {found.arch}, {arguments}",
    "sha256": found.digest,
    "Clean images": read.source,
    "Classes": read.order,
    "Image size": read.sized,
    "Normalization": normalization,
    "Trained on": f"{len(train)} images",
    "Held out": f"{len(held)} images, the same share of every class",
    "Seed": str(seed),
  }
  notes = clean_images.check_order(model, found, read)
  return Parts(found, model, access, held, read, facts, notes, seed)


def _work(
  parts: Parts, fixed: repair.Repair, audit: bool, console: Console
) -> tuple[Params, repair.Repair, Audit | None]:
  """Audits and repairs, under a bar; also returns what repaired."""
  _say(console, [f"{name}: {fact}" for name, fact in parts.facts.items()])
  _say(console, parts.notes)
  key = jax.random.key(parts.seed)
  found = None
  with Display(console, cells=1 + audit).running() as display:
    fit = loop.host_fit(progress=display.stage)
    if audit:
      display.start("audit: searching a patch for every class")
      k_audit = experiment.key_for(key, "audit")
      found = audits.search(
        k_audit, parts.access, fit, seed=parts.seed, rounds=audits.ROUNDS
      )
      display.finish(f"{int(found.flagged.sum())} classes flagged")
    display.start(f"repair: {fixed.label}")
    _say(console, fixed.notes)
    k_repair = experiment.key_for(key, "repair")
    state, done = repair.run(k_repair, fixed, parts.access, fit)
    if done is not fixed:
      _say(console, done.notes[-1:])
    display.finish("repaired")
  return state.variables, done, found


def _measured(
  parts: Parts, cleaned: Params, fixed: repair.Repair, audit: Audit | None
) -> dict[str, Any]:
  """Returns a result's fields, except for its files and the time it took."""
  pair = parts.found.variables, cleaned
  before, after = (_asked(parts, variables) for variables in pair)
  if audit is not None:
    tried = (_stamped(parts, audit, variables) for variables in pair)
    audit = audit._replace(before=next(tried), after=next(tried))
  taken = None
  if parts.images.triggered is not None:
    taken = measure.taken(before, after, parts.images.triggered_label)
  arch, layout = parts.found.arch, parts.found.layout
  old, new = (layouts.to_torch(v, arch, layout=layout) for v in pair)
  return {
    "facts": parts.facts,
    "names": parts.images.names,
    "defense": fixed.label,
    "notes": (*parts.notes, *fixed.notes),
    "before": before,
    "after": after,
    "taken": taken,
    "audit": audit,
    "changes": weights.changes(old, new),
    "moved": weights.whole(old, new),
  }


def _asked(parts: Parts, variables: Params) -> measure.Answers:
  return measure.answers(
    parts.model,
    variables,
    parts.images.image[parts.held],
    parts.images.label[parts.held],
    num_classes=parts.found.num_classes,
    triggered=parts.images.triggered,
    seed=parts.seed,
  )


def _stamped(
  parts: Parts, audit: Audit, variables: Params
) -> tuple[measure.Share, ...]:
  return audits.stamped(
    audit,
    parts.access,
    variables,
    parts.images.image[parts.held],
    parts.images.label[parts.held],
  )


def run(**given: Any) -> int:
  """Cleanses for a command line; returns the exit status.

  Raises:
    ValueError: it cannot be done; says why.
  """
  console = Console()
  try:
    result = cleanse(**given, console=console)
  except KeyboardInterrupt:
    console.print("stopped; nothing was written.")
    return 130
  except OSError as fault:  # a name that is too long, a disk that is gone
    raise ValueError(
      f"{printable(fault.filename)} cannot be used ({fault.strerror}); give "
      "another path."
    ) from None
  files = f"model: {result.out}", f"report: {result.report}"
  _say(console, ["", result.verdict, "", *files])
  return 0


def _say(console: Console, lines: Sequence[str]) -> None:
  """Prints lines that may hold a stranger's names, as they are."""
  for line in lines:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
