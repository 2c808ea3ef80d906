"""The parts of an analysis: what each computes of which models."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bdjax.analysis import asked as asks
from bdjax.analysis import features, line, norms, surface, tac
from bdjax.analysis.asked import Asked
from bdjax.analysis.cases import Subject
from bdjax.machine import programs
from bdjax.runs.cells import Cell

CLEAN = 1000  # training images that statistics are recomputed on (chosen)
OF_PLANTED = (asks.SURFACE, asks.FEATURES)
OF_REPAIRED = (asks.FEATURES, asks.LINE, asks.TAC)
Numbers = dict[str, Any]


class Part(NamedTuple):
  """Numbers of a model, or of a planted and a repaired one, to be computed.

  Attributes:
    kind: one of `asked.PARTS`.
    subject: whose.
    cell: the repaired model's, or the planted one's.
    settings: what else decides the numbers.
  """

  kind: str
  subject: Subject
  cell: Cell
  settings: dict[str, Any]

  @property
  def name(self) -> str:
    """Of its files."""
    return f"{self.kind}-{self.subject.name(self.cell)}"

  def __str__(self) -> str:
    """Returns it as the user reads it."""
    return f"{self.cell} · {self.kind}"


def parts(subject: Subject, asked: Asked) -> Iterator[Part]:
  """Yields all that is asked of a planted model, and of its repairs."""
  for cell in (subject.root, *subject.repaired):
    for kind in OF_REPAIRED if cell.defense else OF_PLANTED:
      if kind in asked.parts:
        yield Part(kind, subject, cell, asked.settings(kind))


def compute(part: Part, asked: Asked, progress: line.Progress) -> Numbers:
  """Returns a part's numbers.

  Raises:
    ValueError: the images that were asked for show nothing.
  """
  computed = {
    asks.TAC: _tac,
    asks.LINE: _line,
    asks.SURFACE: _surface,
    asks.FEATURES: _features,
  }
  return computed[part.kind](part, asked, progress)


def _tac(part: Part, asked: Asked, progress: line.Progress) -> Numbers:
  subject, model = part.subject, part.subject.model
  images = subject.probe(asked.images)
  names = tac.stages(model, subject.planted, images.clean, asked.layers)

  def look(variables, images):
    return tac.changes(model, variables, images, names=tuple(names))

  found = []
  program = programs.compiled(look, subject.planted, images)
  for variables in (subject.planted, subject.variables(part.cell)):
    found.append(program(variables, images))
    progress(len(found), 2)
  before, after = found
  return {
    "images": int(jnp.sum(images.other)),
    "layers": [
      {"layer": name, "before": before[name], "after": after[name]}
      for name in names
    ],
  }


def _line(part: Part, asked: Asked, progress: line.Progress) -> Numbers:
  subject = part.subject
  images = subject.probe(asked.images)
  rows = line.along(
    subject.model,
    subject.planted,
    subject.variables(part.cell),
    images,
    subject.clean(CLEAN),
    points=asked.points,
    statistics=asked.statistics,
    progress=progress,
  )
  return {"images": images.clean.size} | rows


def _surface(part: Part, asked: Asked, progress: line.Progress) -> Numbers:
  subject = part.subject
  images = subject.probe(asked.surface_images, flag="surface_images")
  rows = surface.around(
    jax.random.key(asked.seed),
    subject.model,
    subject.planted,
    images,
    subject.clean(CLEAN if asked.statistics == norms.RECOMPUTED else 1),
    grid=asked.grid,
    span=asked.span,
    chunk=asked.chunk,
    statistics=asked.statistics,
    progress=progress,
  )
  return {"images": images.clean.size} | rows


def _features(part: Part, asked: Asked, progress: line.Progress) -> Numbers:
  subject = part.subject
  images = subject.probe(asked.embedding_images, flag="embedding_images")
  found = features.seen(
    subject.model,
    subject.variables(part.cell),
    images,
    embedding=asked.embedding,
    seed=asked.seed,
  )
  progress(1, 1)
  names = subject.session.plan.info.class_names
  return {"images": images.clean.size, "classes": list(names or ())} | found
