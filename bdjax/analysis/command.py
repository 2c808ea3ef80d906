"""The command: `python -m bdjax.launch analysis WORKDIR`."""

from collections.abc import Sequence

import jax
from rich.console import Console
from rich.markup import escape

from bdjax import report
from bdjax.analysis import cases, features, parts
from bdjax.analysis.asked import FEATURES, Asked
from bdjax.analysis.cases import Subject
from bdjax.analysis.outputs import Folder
from bdjax.analysis.parts import Part
from bdjax.machine import notes, storage
from bdjax.report.load import Run
from bdjax.runs import plans, settings
from bdjax.runs import workdir as workdirs
from bdjax.runs.cells import Names
from bdjax.runs.runner import OWN
from bdjax.runs.session import Session
from bdjax.runs.workdir import Workdir
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
  store = storage.place(asked.store) if asked.store else path / "models"
  found = report.load(path)
  if not found.config:
    raise ValueError(
      f"{path} holds no config.json, without which its models cannot be read: "
      "name the folder that a run was given."
    )
  plan = cases.plan(found.config)
  with workdirs.opened(path, plan.config, store=store) as workdir:
    subjects = _subjects(plan, workdir, found, asked, console)
    with jax.default_matmul_precision(plan.precision):
      failures = _fill(Folder(out), subjects, asked, console)
  console.print(f"analysis: {out}", soft_wrap=True)
  if asked.out is None:
    console.print(f"`report {path}` shows it.", soft_wrap=True)
  return failures


def _subjects(
  plan: plans.Plan, workdir: Workdir, found: Run, asked: Asked, console: Console
) -> list[Subject]:
  """Returns the planted models that are asked for.

  Raises:
    ValueError: there is none, or the store does not hold one.
  """
  subjects, known = [], set()
  for part in settings.by_seed(plan):
    names = Names(part)
    done = cases.finished(names, found.cells)
    known |= {record["cell"] for record in done.values()}
    session = Session(part, workdir, names, Display(console, cells=0))
    subjects += cases.subjects(session, done, asked.cells)
  if len(known) < len(found.cells):
    notes.say(
      f"{len(found.cells) - len(known)} of {len(found.cells)} cells are left "
      f"out: {found.workdir} has them from an earlier config, whose methods "
      "config.json no longer names."
    )
  if not subjects:
    raise ValueError(_none(found, asked))
  _check_planted(subjects, workdir)
  return subjects


def _none(found: Run, asked: Asked) -> str:
  if not asked.cells:
    return (
      f"{found.workdir} has no cell that its config.json names: run the config "
      "into it once more."
    )
  first = "/".join(str(found.cells[-1][key]) for key in cases.CALLED)
  return (
    f"--cells is {' '.join(asked.cells)!r}, but {found.workdir} has no such "
    f"finished cell: one that it has is {first!r}."
  )


def _check_planted(subjects: Sequence[Subject], workdir: Workdir) -> None:
  for subject in subjects:
    if not subject.kept(subject.root):
      place = workdir.model(subject.name(subject.root))
      raise ValueError(
        f"the planted model of {subject.root} is not at {place}: give the "
        "folder that the run kept its models in with --store."
      )


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
        display.finish(f"[red]failed:[/red] {escape(str(error))}")
  return failures


def _compute(part: Part, folder: Folder, asked: Asked, display: Display) -> str:
  """Computes a part and keeps it; returns what came out, in words."""
  subject, cell = part.subject, part.cell
  if not subject.kept(cell):
    seconds = subject.records[cell]["seconds_train"] or 0
    notes.say(
      f"the run has not kept {cell}: it is repaired once more, which took "
      f"{seconds:,.0f} s."
    )

  def progress(done: int, count: int) -> None:
    display.stage(part.kind, done, count, {}, "step")

  return escape(folder.keep(part, parts.compute(part, asked, progress)))
