"""The leaderboard: every row of every experiment on one page, offline."""

import re
from collections.abc import Sequence
from typing import Any

from bdjax.archive import rows
from bdjax.archive.experiment import Experiment
from bdjax.archive.rows import Row
from bdjax.report.judging import NONE
from bdjax.report.page import template
from bdjax.study.measured import Reading

UNCHECKED = "names of cells, hence seeds and settings, not checked"
NUMBERS = ("CA", "ASR", "floor", "DER")


def render(experiments: Sequence[Experiment]) -> str:
  """Returns the page as one self-contained HTML document.

  It is whole without scripts; with them it can be sorted and filtered.

  Args:
    experiments: the experiments.
  """
  page, css = template("board.html.j2", room="bdjax.archive")
  shown = sorted(rows.several(experiments), key=_place)
  titles = {one.name: one.about["title"] for one in experiments}
  by = {one.name: _by(one) for one in experiments}
  return page.render(
    css=css,
    lines=[_line(row, titles[row.experiment], by) for row in shown],
    numbers=NUMBERS,
    datasets=sorted({row.names["dataset"] for row in shown}),
    protocols={p: _short(p) for p in sorted({r.protocol for r in shown})},
    marks=rows.MARKS,
    marked=any(row.mark for row in shown),
  )


def _by(one: Experiment) -> str:
  """Returns who measured an experiment, and what was not checked of it."""
  who = one.about["by"]
  parts = [f"by {who}"] * bool(who) + [UNCHECKED] * one.about["other_code"]
  return "; ".join(parts)


def _place(row: Row) -> tuple[Any, ...]:
  """Returns where a row stands: its model's undefended one, then by ASR."""
  names = row.names
  model = tuple(names[k] for k in ("dataset", "attack", "regime", "scenario"))
  return (
    row.names["dataset"],
    row.protocol,
    model,
    names["defense"] != NONE,
    bool(row.mark),
    row.asr.mean if row.asr else 0.0,
  )


def _line(row: Row, title: str, by: dict[str, str]) -> dict[str, Any]:
  readings = (row.ca, row.asr, row.floor, row.der)
  return row.names | {
    "protocol": row.protocol,
    "short": _short(row.protocol),
    "numbers": [
      (name, rows.span(reading).partition(" "), _key(reading))
      for name, reading in zip(NUMBERS, readings, strict=True)
    ],
    "seeds": row.seeds,
    "diverged": row.diverged,
    "asr_by_seed": rows.by_seed(row.asr),
    "seconds": rows.seconds(row.seconds),
    "seconds_key": "" if row.seconds is None else f"{row.seconds:.3f}",
    "held": row.held,
    "mark": row.mark,
    "title": title,
    "by": by[row.experiment],
    "anchor": "-".join(re.findall("[a-z0-9]+", title.lower())),
  }


def _short(protocol: str) -> str:
  """Returns the digits at the end of a protocol's name, which suffice."""
  return protocol.rpartition(" ")[2]


def _key(reading: Reading | None) -> str:
  """Returns what a number is sorted by; missing ones come last."""
  return "" if reading is None else f"{reading.mean:.4f}"
