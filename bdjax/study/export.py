"""A study's numbers and figures as files: CSV, LaTeX, PNG and SVG."""

import csv
import io
from collections.abc import Iterable, Sequence

from bdjax.machine import storage
from bdjax.machine.storage import Place
from bdjax.report import figures, judging, results, tables
from bdjax.study import drawing, match, measured
from bdjax.study.claim import Finding
from bdjax.study.comparison import Compared
from bdjax.study.drawing import Drawing
from bdjax.study.match import Evidence
from bdjax.study.measured import Reading

_TEX = {"_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "->": r"$\to$"}


def write(
  folder: Place,
  evidence: Evidence,
  compared: Sequence[Compared],
  claims: Sequence[Finding],
  drawings: Sequence[Drawing],
) -> None:
  """Writes all files of a study into a folder, which is created.

  Args:
    folder: where.
    evidence: what was measured: cells.csv, cells.tex.
    compared: printed cells with their verdicts: verdicts.csv.
    claims: as they were settled: claims.csv.
    drawings: a PNG and an SVG each.
  """
  storage.make(folder)
  texts = {
    "cells.csv": _table(cells(evidence)),
    "cells.tex": latex(evidence),
    "verdicts.csv": _table(map(_verdict, compared)),
    "claims.csv": _table(map(_claim, claims)),
  }
  for name, text in texts.items():
    storage.write(folder / name, text)
  for one in drawings:
    storage.write(folder / f"{one.name}.svg", one.svg())
    picture = figures.raster(one.draw, one.width, one.height)
    storage.write(folder / f"{one.name}.png", picture)


def cells(evidence: Evidence) -> list[dict[str, object]]:
  """Returns a row per measured group: its names, seeds, means and intervals."""
  rows = []
  for key, records in evidence.groups.items():
    row: dict[str, object] = dict(zip(results.GROUP, key, strict=True))
    row["success"] = judging.success(records[0])
    row["seeds"] = " ".join(str(r["seed"]) for r in records)
    row["diverged"] = match.diverged(evidence, key)
    for metric in measured.KEYS:
      cell = drawing.of(evidence, key[-1], metric)
      reading = measured.read(records, cell, evidence.run)
      row |= _numbers(metric, reading)
    rows.append(row)
  return rows


def latex(evidence: Evidence) -> str:
  """Returns a table of CA / ASR, attacks by defenses, for each data set."""
  return "\n".join(map(_tabular, tables.pivot(evidence.run.records)))


def _tabular(table: tables.Table) -> str:
  lines = [
    f"% {' / '.join(table.title)}; CA / ASR in percent, mean ± standard "
    "deviation between seeds",
    *(f"% {tables.LATEX[k]}: {word}" for word, k in tables.MARKS.items()),
    *([f"% {tables.MOVED}"] if tables.moved(table) else []),
    rf"\begin{{tabular}}{{ll{'r' * len(table.defenses)}}}",
    " & ".join(["attack", "regime", *map(_escaped, table.defenses)]) + r" \\",
    r"\hline",
  ]
  for attack, regime in table.attacks:
    line = [_escaped(attack), _escaped(regime)]
    for defense in table.defenses:
      row = table.rows.get((attack, regime, defense))
      line.append(_pair(row) if row else "--")
    lines.append(" & ".join(line) + r" \\")
  return "\n".join([*lines, r"\end{tabular}", ""])


def _pair(row: results.Record) -> str:
  """Returns CA / ASR, or what stands for it, marked where not to be judged."""
  ca, left = (tables.percent(row, name) for name in ("ca", "left"))
  text = f"{ca} / {left}{tables.MARKS.get(tables.verdict(row), '')}"
  for plain, tex in tables.LATEX.items():
    text = text.replace(plain, tex)
  return text


def _escaped(text: str) -> str:
  for plain, tex in _TEX.items():
    text = text.replace(plain, tex)
  return text


def _numbers(metric: str, reading: Reading | None) -> dict[str, float | None]:
  return {f"{metric}_{name}": x for name, x in _ends(reading).items()}


def _ends(reading: Reading | None) -> dict[str, float | None]:
  """Returns a reading's mean and interval, which one seed has not."""
  known = reading is not None and reading.how != measured.POINT
  return {
    "mean": reading and reading.mean,
    "low": reading.low if known else None,
    "high": reading.high if known else None,
  }


def _verdict(one: Compared) -> dict[str, object]:
  cell, group = one.cell, one.group or ("",) * len(results.GROUP)
  reading = one.reading
  return {
    "study": cell.study,
    "row": cell.row,
    "column": cell.column,
    "published": cell.value,
    **_ends(reading),
    "seeds": reading and reading.seeds,
    "diverged": reading and reading.diverged,
    "interval": reading and reading.how,
    "verdict": one.verdict.word,
    "why": one.verdict.why,
    **dict(zip(results.GROUP, group, strict=True)),
    "note": cell.note,
  }


def _claim(finding: Finding) -> dict[str, object]:
  claim = finding.claim
  return {
    "claim": claim.name,
    "source": claim.source,
    "sentence": claim.sentence,
    "test": claim.test,
    "cells": claim.need,
    "status": finding.words,
    "measured": finding.measured,
    "of": finding.of,
    "open": finding.open,
    "against": "; ".join(finding.against),
  }


def _table(rows: Iterable[dict[str, object]]) -> str:
  rows, buffer = list(rows), io.StringIO()
  if rows:
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
  return buffer.getvalue()
