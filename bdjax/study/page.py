"""The page of a study, its files, and what the console says of it."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from rich.console import Console
from rich.text import Text

from bdjax.machine import storage
from bdjax.machine.storage import Place
from bdjax.report import divergence, figures, reactivations, sequela, tables
from bdjax.report.load import Run, load
from bdjax.report.page import script, template
from bdjax.study import (
  axes,
  catalog,
  claim,
  drawing,
  export,
  facing,
  grid,
  verdict,
)
from bdjax.study.claim import Finding
from bdjax.study.comparison import Compared, compare, findings, gather
from bdjax.study.drawing import Drawing
from bdjax.study.match import Evidence
from bdjax.study.measured import POINT

Draw = Callable[[Evidence, Sequence[Compared]], list[Drawing]]
FIGURES: dict[str, tuple[str, Draw]] = {
  "heat": ("ASR of attacks by defenses", grid.heat),
  "curves": ("ASR and CA by epoch", drawing.curves),
  "scatter": ("ASR against CA", drawing.scatter),
  "costs": ("Cost", drawing.costs),
  "rates": ("Learning rates", lambda evidence, _: axes.schedules(evidence)),
}
SIGNS = {  # of a verdict or a claim: so that nothing is told by colour alone
  **dict.fromkeys((verdict.REPRODUCED, verdict.KIND, claim.SUPPORTED), "yes"),
  **dict.fromkeys(
    (verdict.REPRODUCED_NOT, verdict.KIND_NOT, claim.OPPOSED), "no"
  ),
  verdict.OPEN: "open",
}
MARKS = {"yes": "✓", "no": "✗", "open": "?", "none": "–"}
_STYLE = {"yes": "green", "no": "bold red", "open": "yellow"}


def write(
  workdirs: Sequence[str | os.PathLike[str] | Run], console: Console
) -> list[Place]:
  """Writes a page for every study of some work directories, and says so.

  Args:
    workdirs: or runs that were read. Those of one study are read as one; its
      page and files go into the first, under its name where that run is of
      several studies. Those without a study are left out.
    console: gets a line for each claim and the paths.

  Returns:
    The pages.

  Raises:
    ValueError: a directory holds no results, two hold different protocols of
      the same cells, or the papers' numbers are not there.
  """
  studies: dict[str, list[Run]] = {}
  for run in map(load, workdirs):
    catalog.check(run.config)
    for name in catalog.of(run.config):
      studies.setdefault(name, []).append(run)
  return [_write(name, runs, console) for name, runs in studies.items()]


def _write(study: str, runs: Sequence[Run], console: Console) -> Place:
  evidence = gather(study, runs)
  compared, claims = compare(evidence), findings(evidence)
  drawn = drawings(evidence, compared)
  every = [one for _, some in drawn for one in some]
  folder, name = runs[0].workdir, "study"
  if len(catalog.of(runs[0].config)) > 1:
    name = f"study-{study}"
  export.write(folder / name, evidence, compared, claims, every)
  text = render(evidence, compared, claims, drawn, runs)
  path = storage.write(folder / f"{name}.html", text)
  show(evidence, compared, claims, console)
  console.print(f"study: {path}", soft_wrap=True)
  return path


def drawings(
  evidence: Evidence, compared: Sequence[Compared]
) -> list[tuple[str, list[Drawing]]]:
  """Returns a study's figures, by heading; none that would be empty."""
  sections = []
  for kind in catalog.STUDIES[evidence.study].figures:
    head, draw = FIGURES.get(kind) or _over(kind)
    sections.append((head, draw(evidence, compared)))
  return [(head, some) for head, some in sections if some]


def show(
  evidence: Evidence,
  compared: Sequence[Compared],
  claims: Sequence[Finding],
  console: Console,
) -> None:
  """Prints how many cells have each verdict, and a line for each claim."""
  title = f"{evidence.study}: {catalog.words(evidence.study)[0]}"
  console.print(Text(title, style="bold"))
  if compared:
    for what, counts in facing.counted(compared):
      words = ", ".join(f"{count} {word}" for word, count in counts.items())
      console.print(Text(f"{what} {words}", style="dim"))
  for lost in divergence.words(evidence.run.diverged):
    console.print(Text(f"diverged, and in no mean: {lost}", style="red"))
  if evidence.foreign:
    remark = "No record is of the paper's data; asked of what there is:"
    console.print(Text(remark, style="bold"))
  elif claims and not evidence.paper:
    remark = "The protocol is our own: what fails may hold under the paper's."
    console.print(Text(remark, style="bold"))
  for one in claims:
    text = Text().append(one.words, style=_STYLE.get(sign(one.status), "dim"))
    console.print(text.append(f": {one.claim.sentence} ({one.claim.source})"))


def sign(word: str) -> str:
  """Returns yes, no, open or none: how a verdict or a status is marked."""
  return SIGNS.get(word, "none")


def render(
  evidence: Evidence,
  compared: Sequence[Compared],
  claims: Sequence[Finding],
  drawn: Sequence[tuple[str, list[Drawing]]],
  runs: Sequence[Run],
) -> str:
  """Returns a study's page as one self-contained HTML document."""
  document, css = template("study.html.j2", room="bdjax.study")
  title, paper = catalog.words(evidence.study)
  looks = drawing.looks(evidence)
  kinds = catalog.STUDIES[evidence.study].figures
  return document.render(
    css=css,
    js=script(),
    named=figures.named,
    answer=_answer(compared, claims),
    study=evidence.study,
    title=title,
    paper=paper,
    evidence=evidence,
    protocols=[_protocol(evidence.study, run) for run in runs],
    findings=claims,
    figures=[
      (head, [(d.name, d.caption, d.svg()) for d in some])
      for head, some in drawn
    ],
    settings=[_over(kind)[0] for kind in kinds if kind.startswith("by ")],
    looks=sequela.LOOK | looks,
    drawn=list(looks),
    leftovers=_leftovers(evidence),
    sequela=sequela,
    reactivations=reactivations,
    beyond=_beyond(evidence, compared),
    diverged=divergence.words(evidence.run.diverged),
    rules=_paragraphs(verdict.__doc__),
    claiming=_paragraphs(claim.__doc__),
    sign=sign,
    marks=MARKS,
    span=span,
    **_printed(compared),
  )


def _printed(compared: Sequence[Compared]) -> dict[str, Any]:
  """Returns what the page says of printed cells, by its template's names."""
  shown = facing.rows(compared)
  return {
    "compared": compared,
    "counts": facing.counted(compared),
    "rows": shown,
    "metrics": facing.metrics(shown),
    "judged": facing.judged,
    "stands": facing.stands(compared),
  }


def span(reading: Any, digits: int = 1) -> str:
  """Returns "mean [low, high]", of one seed only the mean, and what is lost."""
  if reading is None:
    return "–"
  mean, low, high = (f"{x:.{digits}f}" for x in reading[:3])
  text = mean if reading.how == POINT else f"{mean} [{low}, {high}]"
  return text + claim.also(reading)


def _answer(compared: Sequence[Compared], claims: Sequence[Finding]) -> str:
  """Returns in a sentence or two what came of claims and printed cells."""
  words = Counter(one.words.partition(" (")[0] for one in claims)
  parts = ", ".join(f"{count} {word}" for word, count in words.items())
  asked = f"Of {len(claims)} claims: {parts}. " if claims else ""
  found = Counter(o.verdict.word for o in compared if facing.judged(o))
  parts = ", ".join(f"{count} {word}" for word, count in found.items())
  total = sum(found.values())
  cells = f"Of {total} printed numbers that can be compared: {parts}."
  none = "No printed number can be compared." if compared else ""
  return asked + (cells if total else none)


def _over(kind: str) -> tuple[str, Draw]:
  names = kind.removeprefix("by ").split(", ")
  head = f"ASR and CA by {' and '.join(names)}"
  setting, by = [*names, ""][:2]
  return head, partial(axes.over, setting=setting, by=by)


def _beyond(
  evidence: Evidence, compared: Sequence[Compared]
) -> list[dict[str, Any]]:
  """Returns what was measured and stands in no row beside a printed cell."""
  used = {key for row in facing.rows(compared) for key in row["groups"]}
  return [
    row
    for key, row in zip(evidence.groups, export.cells(evidence), strict=True)
    if key not in used
  ]


def _protocol(study: str, run: Run) -> dict[str, str]:
  """Returns what one work directory was run with."""
  records = run.cells

  def named(key: str) -> str:
    return tables.several(r[key] for r in records if r.get(key) is not None)

  return {
    "folder": str(run.workdir),
    "protocol": "paper" if catalog.follows(study, run.config) else "own",
    "data": named("dataset"),
    "model, width": f"{named('model')}, {named('width') or 'its own'}",
    "training images, epochs": f"{named('train_images') or '?'}, "
    f"{named('train_epochs') or '?'}",
    "test images": named("test_images"),
    "defender's images": tables.several(
      r["clean_images"] for r in records if r["defense"] != "none"
    )
    or "none",
    "epochs of defenses": named("defense_epochs") or "none",
    "seeds": tables.several(sorted({r["seed"] for r in records})),
    "devices": tables.devices(records),
  }


def _leftovers(evidence: Evidence) -> list[tuple[str, dict[str, Any]]]:
  """Returns what was measured of sequela, by title, as the report has it."""
  run, looks = evidence.run, drawing.looks(evidence)
  sections = [
    (" / ".join(table.title), sequela.section(run, table, looks))
    for table in tables.pivot(run.records)
  ]
  return [(title, section) for title, section in sections if section]


def _paragraphs(text: str | None) -> list[str]:
  """Returns a docstring's paragraphs, but for its title."""
  parts = (text or "").replace("`", "").strip().split("\n\n")[1:]
  joined = "\n\n".join(parts)
  for number in range(1, 10):
    joined = joined.replace(f"\n{number}. ", f"\n\n{number}. ")
  return [" ".join(part.split()) for part in joined.split("\n\n") if part]
