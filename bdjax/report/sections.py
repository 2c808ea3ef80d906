"""What the page's template shows, computed: figures, pictures and words."""

import functools
from typing import Any

from bdjax.report import (
  answer,
  elsewhere,
  figures,
  findings,
  images,
  judging,
  plots,
  results,
  sequela,
  sweeps,
  swept,
  tables,
)
from bdjax.report.curves import Line, line, planting, rates
from bdjax.report.judging import NONE
from bdjax.report.load import Picture, Run

SPAN = 1e5  # highest over lowest learning rate of the axis
SCORED = ("asr", "ca")
_KINDS = ("after poisoned epochs", "after clean epochs")
PLANTING = {k: figures.styles(list(_KINDS))[k] for k in _KINDS}
_SHOWN = 6  # pictures per attack
_PARTS = {
  "compile": "seconds_compile",
  "train": "seconds_train",
  "eval": "seconds_eval",
}


def section(
  run: Run, table: tables.Table, looks: dict[str, figures.Style]
) -> dict[str, Any]:
  """Returns what the page shows of one table: numbers, words and figures."""
  lines = _lines(run, table)
  drawn = {defense for panel in lines.values() for defense in panel}
  planted = _planting(run, table)
  return {
    "table": table,
    "answer": answer.answer(table),
    "name": " / ".join(table.title),
    "protocol": tables.protocol(table.records) + tables.losses(table),
    "drawn": [defense for defense in table.defenses if defense in drawn],
    "solid": _solid(table),
    "curves": [
      (*label, plots.curve_panel(panel, looks))
      for label, panel in lines.items()
    ],
    "kinds": [k for k in PLANTING if any(k in p for p in planted.values())],
    "planting": [
      (*label, plots.curve_panel(panel, PLANTING, epochs="epoch"))
      for label, panel in planted.items()
    ],
    "scatter": _scatter(table, looks),
    "costs": _costs(table),
    "boxes": _boxes(table),
    "sweeps": [
      {
        "title": ", ".join(sweep.title),
        "panels": sweeps.panels(sweep),
        "best": sweeps.best(sweep),
        "rate": sweeps.rate(sweep),
        "sure": sweeps.sure(sweep),
        "lost": sweeps.lost(sweep),
      }
      for sweep in swept.sweeps(table.records, table.diverged)
    ],
    "elsewhere": elsewhere.table(table.records),
    "found": findings.table(table.records),
    "sequela": sequela.section(run, table, looks),
    "learned": _learned(table),
  }


def _learned(table: tables.Table) -> str:
  """Returns what accuracy planted models reached on their training sets."""
  known: dict[str, list[float]] = {}
  for record in table.records:
    if record["defense"] == NONE and record.get("train_accuracy") is not None:
      label = f"{record['attack']}, {record['regime']}"
      known.setdefault(label, []).append(record["train_accuracy"])
  return "; ".join(
    f"{label} {100 * sum(values) / len(values):.1f} %"
    for label, values in known.items()
  )


def _cells(
  table: tables.Table, attack: str, regime: str, defense: str
) -> list[results.Record]:
  wanted = (attack, regime, defense)
  keys = ("attack", "regime", "defense")
  return [r for r in table.records if tuple(r[k] for k in keys) == wanted]


def _solid(table: tables.Table) -> str:
  """Returns which metric stands for success: a new head has no old target."""
  return "collapse" if judging.moved(table.title[2]) else "asr"


def _lines(
  run: Run, table: tables.Table
) -> dict[tuple[str, str], dict[str, dict[str, Line]]]:
  """Returns (attack, regime) -> defense -> metric -> line; no empty ones."""
  panels, shown = {}, {"asr": _solid(table), "ca": "ca"}
  for attack, regime in table.attacks:
    lines = {}
    for defense in table.defenses:
      cells = _cells(table, attack, regime, defense)
      both = {k: line(cells, run.curves, m) for k, m in shown.items()}
      lines[defense] = {m: drawn for m, drawn in both.items() if drawn}
    lines = {defense: both for defense, both in lines.items() if both}
    if lines:
      panels[attack, regime] = lines
  return panels


def _planting(
  run: Run, table: tables.Table
) -> dict[tuple[str, str], dict[str, dict[str, Line]]]:
  """Returns (attack, regime) -> kind of epoch -> metric -> line; none empty."""
  panels = {}
  for attack, regime in table.attacks:
    names = dict.fromkeys(
      r["planted"]
      for r in table.records
      if (r["attack"], r["regime"]) == (attack, regime)
    )
    lines = {}
    for kind, clean in zip(_KINDS, (False, True), strict=True):
      how = {"clean": clean, "regime": regime}
      both = {m: planting(names, run.curves, m, **how) for m in SCORED}
      lines[kind] = {metric: drawn for metric, drawn in both.items() if drawn}
    lines = {kind: both for kind, both in lines.items() if both}
    if lines:
      panels[attack, regime] = lines
  return panels


def _scatter(
  table: tables.Table, looks: dict[str, figures.Style]
) -> list[tuple[str, str, str]]:
  points: dict[tuple[str, str], dict[str, results.Record]] = {}
  for (attack, regime, defense), row in table.rows.items():
    if None not in (row["ca"], row["left"]):
      panel = points.setdefault((attack, regime), {})
      panel[defense] = row
  seen = [row["ca"] for panel in points.values() for row in panel.values()]
  return [
    (*label, plots.scatter_panel(panel, looks, (min(seen), max(seen))))
    for label, panel in points.items()
  ]


def _costs(table: tables.Table) -> str | None:
  seconds = {}
  for defense in table.defenses:
    cells = [
      {part: record[key] for part, key in _PARTS.items()}
      for record in table.records
      if record["defense"] == defense != NONE
    ]
    cells = [cell for cell in cells if None not in cell.values()]
    if cells:
      seconds[defense] = {
        part: sum(cell[part] for cell in cells) / len(cells) for part in _PARTS
      }
  return plots.cost_figure(seconds) if seconds else None


def _boxes(table: tables.Table) -> str | None:
  """Draws how the seconds of training spread over a defense's cells."""
  seconds = {
    defense: [
      record["seconds_train"]
      for record in table.records
      if record["defense"] == defense and record["seconds_train"]
    ]
    for defense in table.defenses
    if defense != NONE
  }
  seconds = {name: values for name, values in seconds.items() if values}
  if not any(len(values) > 1 for values in seconds.values()):
    return None
  draw = functools.partial(plots.draw_boxes, seconds=seconds)
  return figures.svg(draw, 4.8, 0.7 + 0.3 * len(seconds))


def schedules(run: Run) -> list[tuple[str, str, str]]:
  """Draws the first schedule found of every regime and every defense."""
  entries = {}
  for record in run.records:
    _note(
      entries, ("planting", record["regime"]), run, record["planted"], record
    )
  for record in run.records:
    _note(entries, ("defense", record["defense"]), run, record["cell"], record)
  rows = {k: v for k, v in entries.items() if (v[0][1] > 0).any()}
  if not rows:
    return []
  positive = [lr[lr > 0] for (_, lr), _ in rows.values()]
  low, high = min(v.min() for v in positive), max(v.max() for v in positive)
  limits = max(low, high / SPAN), high
  return [
    (*key, source, plots.rate_panel(epochs, lr, limits))
    for key, ((epochs, lr), source) in rows.items()
  ]


def _note(
  entries: dict, key: tuple, run: Run, cell: str, record: results.Record
) -> None:
  schedule = rates(run.curves.get(cell, []))
  if key not in entries and schedule:
    words = f"{record['attack']}, {record['regime']}, seed {record['seed']}"
    entries[key] = (schedule, f"{record['dataset']}, {words}")


def pictures(run: Run) -> list[dict[str, Any]]:
  """Returns the pictures of every data set and attack, first planted model."""
  shown = {}
  for record in run.records:
    picture = run.pictures.get(record["planted"])
    if picture:
      shown.setdefault((record["dataset"], record["attack"]), picture)
  return [
    {"data": data, "attack": attack, **strip(picture)}
    for (data, attack), picture in shown.items()
  ]


def strip(picture: Picture) -> dict[str, Any]:
  """Returns columns of clean, triggered and amplified difference, as PNGs."""
  gain = images.gain(picture.clean, picture.triggered)
  pairs = list(zip(picture.clean, picture.triggered, strict=True))[:_SHOWN]
  change = abs(picture.triggered.astype(int) - picture.clean.astype(int))
  changed = (change.max(axis=-1) > 0).mean()
  return {
    "gain": gain,
    "largest": int(change.max()),
    "changed": f"{100 * changed:.1f}",
    "columns": [
      {
        "words": f"{label} → {target}",
        "clean": images.png(clean),
        "triggered": images.png(triggered),
        "difference": images.png(images.difference(clean, triggered, gain)),
      }
      for (clean, triggered), label, target in zip(
        pairs, picture.label, picture.target, strict=False
      )
    ],
  }
