"""From a suspect's file and clean images to a repaired file and a report."""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.markup import escape

from bdjax.cleanse import agenda as agendas
from bdjax.cleanse import audit as audits
from bdjax.cleanse import case as cases
from bdjax.cleanse import clean_images, outputs, page, repair, suspect, verdict
from bdjax.cleanse.agenda import REPAIR, SEARCH, TRIAL, Agenda, OverBudget
from bdjax.cleanse.audit import Audit
from bdjax.cleanse.case import Case
from bdjax.cleanse.pictures import printable
from bdjax.cleanse.result import Result, compared
from bdjax.machine import storage
from bdjax.runs import experiment
from bdjax.training import loop
from bdjax.training.journal import Row
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
  mean: float | Sequence[float] | None = None,
  std: float | Sequence[float] | None = None,
  held_out: float = 0.2,
  seed: int = 0,
  force: bool = False,
  budget: float | None = None,
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
    budget: seconds that all of it may take: what does not fit after the repair
      is left out, and `left_out` says so. None for any.
    data_dir: folder of the datasets.
    console: where progress is shown; None shows none.

  Raises:
    ValueError: anything is wrong; says what, and what to do. Nothing is written
      then.
  """
  start = time.perf_counter()
  if budget is not None and not 0 < budget < math.inf:
    raise ValueError(f"budget is {budget}; give seconds, above 0, or None.")
  model, out = _local(model=model, images=images, out=out, triggered=triggered)
  flags = _flags(image_size, mean, std)
  console = console or Console(quiet=True)
  report = outputs.check(
    model, out, images, triggered, class_order, force=force
  )
  spec = repair.chosen(defense)
  places = " and ".join(printable(str(place)) for place in (model, images))
  _say(console, [f"Reading {places}."])
  accused = suspect.load(model, arch=arch, flags=flags, weights=weights)
  read = clean_images.read(
    accused,
    images,
    triggered=triggered,
    class_order=class_order,
    data_dir=data_dir,
  )
  case = cases.opened(
    accused,
    read,
    held_out=held_out,
    seed=seed,
    say=lambda line: _say(console, [line]),
  )
  result, cleaned = _worked(
    case,
    repair.fitted(spec, case.access.clean.size),
    {"audit": audit, "budget": budget, "began": start},
    console,
    {"out": out, "report": report},
  )
  result = result._replace(seconds=time.perf_counter() - start)
  return _written(result, case, cleaned, force)


def _worked(
  case: Case,
  fixed: repair.Repair,
  asked: dict[str, Any],
  console: Console,
  files: dict[str, Path],
) -> tuple[Result, Params]:
  """Repairs and audits under bars; returns what came of it, and the repaired.

  Args:
    case: the suspect and the images.
    fixed: what repairs.
    asked: of the agenda.
    console: where it is shown.
    files: which will be written.
  """
  _say(console, [f"{name}: {fact}" for name, fact in case.facts.items()])
  _say(console, case.notes)
  _say(console, fixed.notes)
  with console.status("measuring how fast this machine is"):
    agenda = agendas.of(case, fixed, told=not console.quiet, **asked)
  agenda.check()
  _say(console, agenda.told())
  count = len(agenda.items)
  with Display(console, cells=count, unit="steps").running() as display:
    cleaned, done, more = _repaired(case, fixed, agenda, display)
    _say(console, more)
    audited = None
    if asked["audit"]:
      audited = _audited(case, cleaned, agenda, display)
  _say(console, agenda.left_out)
  return compared(case, cleaned, done, audited, agenda=agenda, **files), cleaned


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
  mean: float | Sequence[float] | None,
  std: float | Sequence[float] | None,
) -> dict[str, Any]:
  return {
    "img_size": None if image_size is None else (image_size, image_size),
    "mean": None if mean is None else tuple(np.ravel(mean).tolist()),
    "std": None if std is None else tuple(np.ravel(std).tolist()),
  }


def _repaired(
  case: Case, fixed: repair.Repair, agenda: Agenda, display: Display
) -> tuple[Params, repair.Repair, list[str]]:
  """Returns the repaired variables, what repaired, and what it says of that."""
  display.start(escape(agenda.begins(REPAIR)))
  fit = loop.host_fit(progress=display.stage)
  k_repair = experiment.key_for(jax.random.key(case.seed), "repair")
  state, done = repair.run(k_repair, fixed, case.access, fit)
  agenda.ends(REPAIR)
  display.finish("repaired")
  return state.variables, done, list(done.notes[-1:] if done != fixed else ())


def _audited(
  case: Case, cleaned: Params, agenda: Agenda, display: Display
) -> Audit | None:
  """Searches patches and tries them, as far as the budget goes."""
  label = agenda.begins(SEARCH)
  if label is None:
    return None
  display.start(escape(label))
  passes = [0]

  def progress(name: str, done: int, epochs: int, row: Row) -> None:
    passes[0] = done
    display.stage(name, done, epochs, row)
    if done < epochs:
      agenda.watch()

  try:
    found = audits.search(
      experiment.key_for(jax.random.key(case.seed), "audit"),
      case.access,
      loop.host_fit(progress=progress),
      seed=case.seed,
      rounds=audits.ROUNDS,
    )
  except OverBudget:
    agenda.stopped(SEARCH, f"{passes[0]} of {audits.ROUNDS} passes")
    display.finish("given up")
    return None
  agenda.ends(SEARCH)
  display.finish(f"{int(found.flagged.sum())} classes flagged")
  return _tried(case, found, cleaned, agenda, display)


def _tried(
  case: Case, found: Audit, cleaned: Params, agenda: Agenda, display: Display
) -> Audit:
  """Returns an audit whose patches were tried on both models, if time is."""
  label = agenda.begins(TRIAL)
  if label is None:
    return found
  display.start(escape(label))
  count, pair, shares = len(found.norm), [], 0
  for variables in (case.suspect.variables, cleaned):
    first = count * len(pair)

    def seen(done: int, first: int = first) -> None:
      nonlocal shares
      shares = first + done
      display.stage("patches", shares, 2 * count, {}, "trial")
      agenda.watch()

    held = case.held_image, case.held_label
    try:
      pair.append(audits.stamped(found, case.access, variables, *held, seen))
    except OverBudget:
      agenda.stopped(TRIAL, f"{shares} of {2 * count} trials")
      display.finish("given up")
      return found
  agenda.ends(TRIAL)
  display.finish("tried")
  return found._replace(before=pair[0], after=pair[1])


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
