"""The command: `python -m bdjax.launch analysis WORKDIR`."""

from collections.abc import Sequence

import jax
from rich.console import Console
from rich.markup import escape

from bdjax.analysis import features, opening, parts
from bdjax.analysis.asked import FEATURES, Asked
from bdjax.analysis.cases import Subject
from bdjax.analysis.outputs import Folder
from bdjax.analysis.parts import Part
from bdjax.machine import storage
from bdjax.runs.runner import OWN
from bdjax.training.progress import Display


def run(asked: Asked, console: Console) -> dict[str, str]:
  """Computes what is asked of a finished run, unless it is there.

  Returns:
    Why parts could not be computed, by what the user calls them.

  Raises:
    ValueError: nothing can be, and why.
  """
  if FEATURES in asked.parts:
    features.check(asked.embedding)
  path = storage.place(asked.workdir)
  out = storage.place(asked.out) if asked.out else path / "analysis"
  given = {"cells": asked.cells, "store": asked.store}
  with (
    opening.opened(asked.workdir, console, **given) as run,
    jax.default_matmul_precision(run.plan.precision),
  ):
    failures = _fill(Folder(out), run.subjects, asked, console)
  console.print(f"analysis: {out}", soft_wrap=True)
  if asked.out is None:
    console.print(f"`report {path}` shows it.", soft_wrap=True)
  return failures


def _fill(
  folder: Folder, subjects: Sequence[Subject], asked: Asked, console: Console
) -> dict[str, str]:
  """Computes what a folder lacks; returns why some is still lacking."""
  wanted = [part for one in subjects for part in parts.parts(one, asked)]
  todo = [part for part in wanted if not folder.has(part)]
  there = f", {len(wanted) - len(todo)} are there" if wanted != todo else ""
  console.print(f"{len(todo)} parts to compute{there}, in {folder.path}")
  failures: dict[str, str] = {}
  with Display(console, cells=len(todo)).running() as display:
    for part in todo:
      part.subject.session.display = display
      display.start(str(part))
      try:
        display.finish(_compute(part, folder, asked, display))
      except OWN as error:
        failures[str(part)] = str(error)
        display.finish(f"[red]failed:[/red] {escape(str(error))}", failed=True)
  return failures


def _compute(part: Part, folder: Folder, asked: Asked, display: Display) -> str:
  """Computes a part and keeps it; returns what came out, in words."""
  subject, cell = part.subject, part.cell
  opening.remind(subject, cell)

  def progress(done: int, count: int) -> None:
    display.stage(part.kind, done, count, {}, "step")

  return escape(folder.keep(part, parts.compute(part, asked, progress)))
