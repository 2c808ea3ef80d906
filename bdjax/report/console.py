"""The attack x defense table in a terminal, split to fit its width."""

import os
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from bdjax.report import answer, elsewhere, findings, reactivations, sequela
from bdjax.report.load import Run, load
from bdjax.report.results import Record
from bdjax.report.tables import (
  MOVED,
  UNJUDGED,
  Table,
  floor,
  interval,
  losses,
  lost,
  moved,
  percent,
  pivot,
  protocol,
  vanished,
)
from bdjax.report.tables import verdict as judge

_STYLE = {"gone": "green", "weak": "yellow", "alive": "bold red", "": ""}
_LABEL, _HEADER = 24, 16  # widest label column, narrowest defense column
_MODEL = 14  # narrowest column of models: the numbers fit 80 columns


def show(
  workdir: str | os.PathLike[str] | Run, console: Console | None = None
) -> None:
  """Prints one table per dataset, model and scenario, and what it shows.

  Args:
    workdir: the work directory, or a run that was read.
    console: where to print; standard output by default.

  Raises:
    ValueError: the directory holds no results.
  """
  console = console or Console()
  run = load(workdir)
  for line in vanished(run.records, run.diverged):
    console.print(line, markup=False)
  for table in pivot(run.records, run.diverged):
    console.print(Text(" / ".join(table.title), style="bold"))
    console.print(Text(" ".join(answer.answer(table).sentences)))
    for part in _parts(table, console.width):
      console.print(_grid(table, part))
    console.print(Text(_legend(table), style="dim"))
    console.print()
    rows = elsewhere.table(table.records)
    if rows:
      console.print(_elsewhere(rows))
      console.print(Text(elsewhere.NOTE, style="dim"))
      console.print()
    for row in findings.table(table.records):
      place = f"{row['attack']}, {row['regime']}, {row['defense']}: "
      text = Text(place, style="dim").append("; ".join(row["found"]), "not dim")
      console.print(text)
    for part in _sequela(sequela.rows(run, table)):
      console.print(part, style="dim" if isinstance(part, Text) else "")


def _elsewhere(rows: list[dict[str, Any]]) -> Grid:
  grid = Grid(box=box.SIMPLE_HEAD, header_style="bold")
  grid.add_column("attack, regime, defense", overflow="fold")
  for name in elsewhere.COLUMNS:
    grid.add_column(name, justify="right")
  for row in rows:
    label = ", ".join(row[key] for key in ("attack", "regime", "defense"))
    grid.add_row(Text(label), *row["values"])
  return grid


def _sequela(rows: sequela.Rows) -> Iterator[Grid | Text]:
  """Yields tables of what is left behind, each kind with its note."""
  left_out = ("balanced accuracy", "TPR at .1 %")
  places = {name: i for i, name in enumerate(sequela.COLUMNS)}
  rates = {k: i for k, i in places.items() if k not in left_out}
  yield from _by_sequel(rows.leaks, rates)
  if rows.leaks:
    shown = next(iter(sequela.ATTACKS.values()))
    yield Text(f"{sequela.LEAKS} Here: {shown}.\n")
  names = [*sequela.RELAPSE, sequela.LESS, sequela.EPOCHS]
  left_out = ("CA before", "CA after", "poisons before", "poisons after")
  places = [i for i, name in enumerate(names) if name not in left_out]
  yield from _by_sequel(rows.relapses, {names[i]: i for i in places})
  if rows.relapses:
    yield Text(f"{sequela.RELAPSES}\n")
  shown = ("re-activated", reactivations.LESS, "universal", "BEC")
  places = {name: reactivations.COLUMNS.index(name) for name in shown}
  yield from _by_sequel(rows.reactivations, places)
  if rows.reactivations:
    yield Text(f"{reactivations.NOTE}\n")


def _by_sequel(
  rows: list[dict[str, Any]], columns: dict[str, int]
) -> Iterator[Grid]:
  """Yields a table per attack, regime and sequel; columns are name -> place."""
  keys = ("attack", "regime", "sequel")
  for title, same in groupby(rows, lambda row: [row[key] for key in keys]):
    grid = Grid(box=box.SIMPLE_HEAD, header_style="bold")
    grid.title, grid.title_justify = Text(", ".join(title)), "left"
    grid.add_column("model", min_width=_MODEL, overflow="fold")
    for name in columns:
      grid.add_column(name, justify="right")
    for row in same:
      label = ", ".join(row[key] for key in ("model", "group") if key in row)
      values = [row["values"][i] for i in columns.values()]
      grid.add_row(Text(label), *values)
    yield grid


def _legend(table: Table) -> str:
  """Returns how to read a table: of its signs those that it has."""
  rows = table.rows.values()
  unjudged = [judge(row) in UNJUDGED for row in rows]
  floors = any(row["clean_left"] is not None for row in rows)
  spans = any(
    _spread(row) and not bare for row, bare in zip(rows, unjudged, strict=True)
  )
  parts = [
    "CA / ASR in percent",
    "; in brackets the 95 % interval of ASR, Student's over seeds" * spans,
    f". {protocol(table.records)}{losses(table)} ASR is green below 20 %, "
    "yellow below 50 %, bold red from there on. Below: what guessing gives",
    ", and the floor, a clean model's after the same defense" * floors,
    ".",
    f" {MOVED}" * moved(table),
    " A defense is not judged where the attack failed (ASR below 90 % before, "
    "or accuracy at chance) or the model is destroyed (more than half of its "
    "accuracy above chance lost), be it in one seed." * any(unjudged),
  ]
  return "".join(parts)


def _spread(row: Record) -> str:
  """Returns the interval of what is left over seeds, if it has several."""
  return interval(row, "left") if len(row["seeds"]) > 1 else ""


def _parts(table: Table, width: int) -> list[list[str]]:
  """Splits the defenses into as few tables as the width allows."""
  room = width - 1 - _columns(table)[0]
  parts: list[list[str]] = []
  left = 0
  for defense in table.defenses:
    need = _need(table, defense)
    if not parts or left < need:
      parts.append([])
      left = room
    parts[-1].append(defense)
    left -= need
  return parts


def _columns(table: Table) -> tuple[int, int]:
  """Returns the printed width of the label column and of its text."""
  text = max(len(word) for label in table.attacks for word in label)
  text = min(_LABEL, max(text, len("attack")))
  return text + 3, text


def _need(table: Table, defense: str) -> int:
  texts = [_cell(table, label, defense) for label in table.attacks]
  lines = [line for text in texts for line in text.plain.split("\n")]
  longest = max(len(line) for line in lines)
  return 3 + max(longest, min(len(defense), _HEADER))


def _grid(table: Table, part: list[str]) -> Grid:
  grid = Grid(box=box.SIMPLE_HEAD, leading=1, header_style="bold")
  width = _columns(table)[1]
  grid.add_column("attack", width=width, overflow="fold")
  for defense in part:
    room = _need(table, defense) - 3
    grid.add_column(Text(defense), justify="right", width=room, overflow="fold")
  for attack, regime in table.attacks:
    label = Text(attack).append(f"\n{regime}", style="dim")
    cells = [_cell(table, (attack, regime), defense) for defense in part]
    grid.add_row(label, *cells)
  return grid


def _cell(table: Table, label: tuple[str, str], defense: str) -> Text:
  key = (*label, defense)
  row, diverged = table.rows.get(key), lost(table, key)
  if row is None:
    return Text(diverged or "not run", style="red" if diverged else "dim")
  text, word = Text(f"{percent(row, 'ca')} / "), judge(row)
  text.append(percent(row, "left"), style=_STYLE.get(word, "dim"))
  if word in UNJUDGED:
    text.append(f"\n{word}", style="bold magenta")
  elif spread := _spread(row):
    text.append(f"\n{spread}", style="dim")
  below = floor(row).replace(", clean model", " floor")
  text.append(f"\n{below}", style="dim")
  return text.append(f"\n{diverged}", style="red") if diverged else text
