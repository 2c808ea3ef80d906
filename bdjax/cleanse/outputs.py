"""What is written: the repaired model and the page, whole or not at all."""

import os
from pathlib import Path

import bdjax
from bdjax.cleanse.case import Case
from bdjax.cleanse.pictures import printable
from bdjax.cleanse.result import Result
from bdjax.interop import pytorch, tensors
from bdjax.machine import storage
from bdjax.types import Params

_SUFFIXES = (".safetensors", *pytorch.SUFFIXES)
_READ = (*_SUFFIXES, ".json")  # of models in folders, their facts and indices


def check(
  model: Path, out: Path, *others: str | Path | None, force: bool
) -> Path:
  """Refuses, before any work, what could not be written after it.

  Args:
    model: the suspect's file, or its folder.
    out: the repaired model's.
    *others: what else is read; None for nothing.
    force: whether files that are there already may be replaced.

  Returns:
    Where the page goes.

  Raises:
    ValueError: the name, the folder or an existing file is in the way.
  """
  if out.suffix not in _SUFFIXES:
    raise ValueError(
      f"--out is {printable(out)}, but the repaired model is a safetensors or "
      f"a PyTorch file; give a name that ends in {' or '.join(_SUFFIXES)}."
    )
  pytorch.check(out)
  report = out.with_suffix(".html")
  read = [Path(other) for other in others if other is not None]
  for path in (out, report):
    if any(_same(path, other) for other in (*_suspect(model), *read)):
      raise ValueError(
        f"--out is {printable(out)}, so that {printable(path)} would be "
        "replaced, which is the suspect itself or something else that is read; "
        "give another name."
      )
    if path.is_dir() or path.exists() and not force:
      raise ValueError(
        f"{printable(path)} exists already; give another --out, or replace it "
        "with --force."
      )
    try:
      storage.probe(path)
    except OSError as fault:
      raise ValueError(
        f"--out is {printable(out)}, but {printable(path)} cannot be written "
        f"({fault.strerror}): its folder does not exist or takes no files; "
        "make it first, or give another."
      ) from None
  return report


def _suspect(model: Path) -> list[Path]:
  """Returns the files that a suspect may consist of."""
  whole = os.path.isdir(model)  # which a name that is too long is not
  folder = model if whole else model.parent
  shards = whole or any(folder.glob("*.index.json"))
  if shards:
    return [model, *(p for p in folder.glob("*") if p.suffix in _READ)]
  return [model, model.with_suffix(".json")]


def _same(path: Path, other: Path) -> bool:
  """Returns whether two names are of one file, by whatever links."""
  try:
    return path.samefile(other)
  except OSError:  # it is not there, or no name of a file
    return False


def write(
  result: Result, case: Case, cleaned: Params, page: str, *, force: bool
) -> None:
  """Writes the repaired model, then the page.

  Args:
    result: what is said of it.
    case: the suspect and the images.
    cleaned: the repaired variables.
    page: the report, as HTML.
    force: whether files that are there already may be replaced.

  Raises:
    ValueError: they cannot be written.
  """
  arch, (before, after) = case.suspect.arch, result.accuracy
  metadata = {
    "format": "pt",
    "model_name": arch,
    "num_classes": case.suspect.num_classes,
    "img_size": case.images.image.shape[1:],
    "mean": case.model.mean,
    "std": case.model.std,
    "made_by": f"bdjax {bdjax.__version__} cleanse",
    "defense": result.defense,
    "seed": result.facts["Seed"],
    "suspect_sha256": case.suspect.digest,
    "accuracy_before": str(before),
    "accuracy_after": str(after),
  }
  if result.left_out:
    metadata["left_out"] = " ".join(result.left_out)
  named = case.suspect.named(cleaned)
  tensors.check_free(result.report, force=force)
  try:
    tensors.write(result.out, named, metadata, force=force)
    storage.write(result.report, page)
  except OSError as fault:
    raise ValueError(
      f"{printable(result.out)} and its report cannot be written "
      f"({fault.strerror}); free some space or give another --out."
    ) from None
