"""One HTML page that needs nothing beside itself: tables, figures, pictures."""

import json
import os
from collections.abc import Callable
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import jinja2

from bdjax.machine import storage
from bdjax.machine.storage import Place
from bdjax.report import (
  divergence,
  elsewhere,
  figures,
  findings,
  reactivations,
  results,
  sections,
  sequela,
  tables,
  why,
)
from bdjax.report.load import Run, load

_STRUCTURE = {
  *results.REQUIRED,
  *results.FOUND,
  *results.ELSEWHERE,
  "poisons",
  "collapse_class",
  "train_accuracy",
  "finished",
  "git",
}
CELL = {  # what cell.html.j2 reads
  "percent": tables.percent,
  "interval": tables.interval,
  "verdict": tables.verdict,
  "rating": tables.rating,
  "rate": tables.rate,
  "moved": tables.moved,
  "MOVED": tables.MOVED,
  "floor": tables.floor,
  "dots": tables.dots,
  "unjudged": tables.UNJUDGED,
}
_ELSEWHERE = (
  "version_",
  "config.",
  "memo.",
)  # shown apart, or only in the records


def write(workdir: str | os.PathLike[str] | Run) -> Place:
  """Writes `report.html` into a work directory, replacing an older one at once.

  Returns:
    Path of the page.

  Raises:
    ValueError: the directory holds no results.
  """
  run = load(workdir)
  return storage.write(run.workdir / "report.html", render(run))


def template(
  name: str, *, room: str = "bdjax.report"
) -> tuple[jinja2.Template, str]:
  """Returns a page's template, of a room, and the style sheet of all pages.

  It extends `base.html.j2`, which holds what all pages have around them.
  """
  folder = resources.files("bdjax.report")
  environment = jinja2.Environment(
    loader=jinja2.FunctionLoader(lambda part: _read(folder / part)),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  text = _read(resources.files(room) / name)
  return environment.from_string(text), _read(folder / "page.css")


def script() -> str:
  """Returns what sorts and filters the tables of a page."""
  return _read(resources.files("bdjax.report") / "page.js")


def _read(file: Traversable) -> str:
  return file.read_text(encoding="utf-8")


def drawn(run: Run) -> list[tuple[str, figures.Drawn]]:
  """Returns the figures of a run's page, each with what it shows in words."""
  found = []

  def note(picture: figures.Drawn, words: str) -> str:
    found.append((" ".join(words.split()), picture))
    return ""

  render(run, note)
  return found


def render(
  run: Run, named: Callable[[figures.Drawn, str], str] = figures.named
) -> str:
  """Returns the page of a run as one self-contained HTML document.

  Args:
    run: to be shown.
    named: (figure, its words) -> the element with its name.
  """
  document, css = template("page.html.j2")
  known = tables.defenses([*run.records, *run.diverged])
  looks = figures.styles(known) | sequela.LOOK
  return document.render(
    css=css,
    js=script(),
    facts=_facts(run),
    sections=[
      sections.section(run, table, looks)
      for table in tables.pivot(run.records, run.diverged)
    ],
    looks=looks,
    planting=sections.PLANTING,
    rates=sections.schedules(run),
    pictures=sections.pictures(run),
    findings=findings.pictures(run),
    elsewhere=elsewhere,
    sequela=sequela,
    reactivations=reactivations,
    why=why.section(run),
    rows=results.summarize(run.records),
    diverged=divergence.counted(run.diverged),
    vanished=tables.vanished(run.records, run.diverged),
    span=sections.SPAN,
    config=json.dumps(run.config, indent=2),
    commands=run.commands,
    costs=("seconds_train", "seconds_eval", "seconds_compile", "device_hours"),
    best=tables.best,
    named=named,
    lost=tables.lost,
    **CELL,
    several=tables.several,
  )


def _facts(run: Run) -> dict[str, Any]:
  records = run.cells
  versions = _named(records, lambda key: key.startswith("version_"))
  rest = _named(
    records,
    lambda key: key not in _STRUCTURE and not key.startswith(_ELSEWHERE),
  )
  finished = sorted(str(r["finished"]) for r in records if r.get("finished"))
  return {
    "data": tables.several(r["dataset"] for r in records),
    "models": tables.several(r["model"] for r in records),
    "attacks": tables.several(r["attack"] for r in records),
    "defenses": tables.several(tables.defenses(run.records)),
    "regimes": tables.several(r["regime"] for r in records),
    "seeds": tables.several(sorted({r["seed"] for r in records})),
    "cells": len(records),
    "when": " to ".join(sorted({*finished[:1], *finished[-1:]})),
    "devices": tables.devices(records),
    "hours": sum(r["device_hours"] or 0 for r in records),
    "git": tables.several(r.get("git") or "not recorded" for r in records),
    "versions": {k.removeprefix("version_"): v for k, v in versions.items()},
    "rest": rest,
  }


def _named(
  records: list[results.Record], wanted: Callable[[str], bool]
) -> dict[str, str]:
  columns: dict[str, list[Any]] = {}
  for record in records:
    for key, value in record.items():
      if value is not None and wanted(key):
        columns.setdefault(key, []).append(value)
  return {key: tables.several(values) for key, values in columns.items()}
