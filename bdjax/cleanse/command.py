"""From a suspect's file and clean images to a repaired file and a report."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from bdjax.cleanse import audit as audits
from bdjax.cleanse import case as cases
from bdjax.cleanse import clean_images, outputs, page, repair, suspect, verdict
from bdjax.cleanse.audit import Audit
from bdjax.cleanse.case import Case
from bdjax.cleanse.pictures import printable
from bdjax.cleanse.result import Result, compared
from bdjax.machine import storage
from bdjax.methods import specs
from bdjax.runs import experiment
from bdjax.training import loop
from bdjax.training.progress import Display
from bdjax.types import Params


def cleanse(
  model: str | Path,
  images: str | Path,
  out: str | Path,
  *,
  arch: str | None = None,
  weights: str | None = None,
  defense: str = "super_ft",
  audit: bool = False,
  triggered: str | Path | None = None,
  class_order: str | Path | None = None,
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
    arch: the architecture, and in brackets what no weights tell of it, as
      `resnet18(stem=cifar_pool)`; None if the model's file says.
    weights: which are taken where a file holds several: `raw`, `ema` or a name;
      None for averaged ones if there are any.
    defense: a spec, such as `ft(lr=0.01)`.
    audit: whether a backdoor is looked for.
    triggered: a folder of images that are suspected to carry a trigger.
    class_order: of the model's classes: `natural`, `lexicographic`, the path of
      a file with their names, or the names with commas between them.
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
  model, out = _local(model=model, images=images, out=out, triggered=triggered)
  flags = _flags(image_size, mean, std)
  report = outputs.check(
    model, out, images, triggered, class_order, force=force
  )
  spec = repair.chosen(defense)
  accused = suspect.load(model, arch=arch, flags=flags, weights=weights)
  read = clean_images.read(
    accused,
    images,
    triggered=triggered,
    class_order=class_order,
    data_dir=data_dir,
  )
  case = cases.opened(accused, read, held_out=held_out, seed=seed)
  cleaned, fixed, audited = _work(case, spec, audit, console)
  result = compared(case, cleaned, fixed, audited, out=out, report=report)
  result = result._replace(seconds=time.perf_counter() - start)
  return _written(result, case, cleaned, force)


def _local(
  model: str | Path, out: str | Path, **others: str | Path | None
) -> tuple[Path, Path]:
  """Returns where the suspect is and its repaired model goes, on this machine.

  Raises:
    ValueError: they, or others that are read, are in the cloud.
  """
  for name, path in {"model": model, "out": out, **others}.items():
    if path is not None:
      storage.local(path, f"--{name}")
  return Path(model), Path(out)


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


def _work(
  case: Case, spec: specs.Spec, audit: bool, console: Console | None
) -> tuple[Params, repair.Repair, Audit | None]:
  """Audits and repairs, under a bar; also returns what repaired."""
  fixed = repair.fitted(spec, case.access.clean.size)
  console = console or Console(quiet=True)
  _say(console, [f"{name}: {fact}" for name, fact in case.facts.items()])
  _say(console, case.notes)
  key = jax.random.key(case.seed)
  audited = None
  with Display(console, cells=1 + audit).running() as display:
    fit = loop.host_fit(progress=display.stage)
    if audit:
      display.start("audit: searching a patch for every class")
      k_audit = experiment.key_for(key, "audit")
      audited = audits.search(
        k_audit, case.access, fit, seed=case.seed, rounds=audits.ROUNDS
      )
      display.finish(f"{int(audited.flagged.sum())} classes flagged")
    display.start(f"repair: {fixed.label}")
    _say(console, fixed.notes)
    k_repair = experiment.key_for(key, "repair")
    state, done = repair.run(k_repair, fixed, case.access, fit)
    if done is not fixed:
      _say(console, done.notes[-1:])
    display.finish("repaired")
  return state.variables, done, audited


def _written(
  result: Result, case: Case, cleaned: Params, force: bool
) -> Result:
  """Returns a result with its verdict, once the files are written."""
  judged = verdict.of(result)
  result = result._replace(verdict=verdict.text(judged))
  text = page.render(result, judged)
  outputs.write(result, case, cleaned, text, force=force)
  return result


def run(console: Console, **given: Any) -> int:
  """Cleanses for a command line; returns the exit status, 1 if in doubt.

  Args:
    console: where it says what it does.
    **given: as `cleanse` takes them.

  Raises:
    ValueError: it cannot be done; says why.
  """
  try:
    result = cleanse(**given, console=console)
  except OSError as fault:  # a name that is too long, a disk that is gone
    raise ValueError(
      f"{printable(fault.filename)} cannot be used ({fault.strerror}); give "
      "another path."
    ) from None
  files = f"model: {result.out}", f"report: {result.report}"
  _say(console, ["", result.verdict, "", *files])
  return 1 if result.doubtful else 0


def _say(console: Console, lines: Sequence[str]) -> None:
  """Prints lines that may hold a stranger's names, as they are."""
  for line in lines:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
