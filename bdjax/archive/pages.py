"""The page of results, from the experiments that are kept.

Each row is an attack under a regime before or after a defense. The interval is
Student's 95 % interval of the mean over seeds; one seed has none. `floor` is
what the trigger does to a clean model after the same defense: an ASR there is
as low as it can be expected to get. It and the ASR of single seeds are shown
so that nothing hides in a mean.
"""

import re
from collections.abc import Sequence

from bdjax.archive import rows
from bdjax.archive.experiment import Experiment
from bdjax.archive.rows import Row
from bdjax.report import (
  divergence,
  elsewhere,
  reactivations,
  sequela,
  tables,
)
from bdjax.study.measured import Reading

COMMAND = "python -m bdjax.launch results"
EDITED = f"<!-- Written by `{COMMAND}` from docs/results: do not edit. -->"
COLUMNS = (
  *("attack, regime", "defense", "CA", "ASR", "floor"),
  *("seeds", "training, s"),
)
BREAK = "<br>"
INTRODUCTION = f"""{EDITED}

# Results

Everything here is written from the records in docs/results by
`uv run {COMMAND}`, and a test writes it again. CA is clean
accuracy, ASR the attack success rate without the target class, in percent: the
mean over seeds with Student's 95 % interval of it, and below the seeds one by
one. Where there are no brackets, there was one seed, and nothing is known of
others. "Floor" is how many triggered images a clean model gives to the target
after the same defense: near it nothing is left to be removed, and single models
lie below it, too; "–" was not measured.
"Seeds" is their number, and which where they are not all of the experiment.
"Training, s" is the mean over seeds of the seconds that the defense trained,
or, under the defense `none`, that planting took, on the machine that is named;
a machine that other work shared has none. Where defenders hold different
numbers of clean images, they stand below the defenses.
Two words stand where a low ASR is no success of a defense:

"""


SUPERSEDED = """What was measured before these instruments stood, with one seed
mostly, is on [the page of the small protocol](results_small.md), which this one
supersedes. What all of it says of the papers is under [claims](claims.md); the
[leaderboard](leaderboard.md) has every row in one table."""


def plain(text: str) -> str:
  """Returns text that is nothing but text in a table of Markdown."""
  for sign in "\\`*_[]<>|#":
    text = text.replace(sign, f"\\{sign}" if sign not in "<>" else sign)
  text = text.replace("<", "&lt;").replace(">", "&gt;")
  return " ".join(text.split())


def anchor(title: str) -> str:
  """Returns what a link to a heading ends with, here and on GitHub."""
  return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def table(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
  """Returns a table of Markdown; its cells are Markdown already."""
  every = [titles, ["---"] * len(titles), *lines]
  return "\n".join(f"| {' | '.join(line)} |" for line in every)


def render(experiments: Sequence[Experiment]) -> str:
  """Returns docs/results.md.

  Args:
    experiments: the experiments, in the order of their sections.
  """
  marks = "\n".join(f'- "{word}": {why}.' for word, why in rows.MARKS.items())
  listed = "\n".join(
    f"- [{plain(one.about['title'])}](#{anchor(one.about['title'])})"
    for one in experiments
  )
  parts = [
    INTRODUCTION + marks,
    SUPERSEDED,
    listed or "No experiment is here yet.",
    *map(section, experiments),
  ]
  return "\n\n".join(parts) + "\n"


def section(one: Experiment) -> str:
  """Returns an experiment's section: how it was measured, and its tables."""
  about = one.about
  shown = rows.rows(one)
  parts = [
    f"## {plain(about['title'])}",
    plain(about["note"]),
    *(f"```\n{_wrapped(text)}\n```" for text in about["commands"]),
    _facts(one),
    *(_table(title, shown) for title in _titles(shown)),
    *_elsewhere(one),
    *_sequela(one),
  ]
  return "\n\n".join(filter(None, parts))


def _wrapped(command: str) -> str:
  """Returns a command with a line for each flag of a longer one."""
  command = " ".join(command.replace("\\\n", " ").split())
  if len(command) <= 88:
    return command
  return command.replace(" --config.", " \\\n    --config.")


def _facts(one: Experiment) -> str:
  about = one.about
  versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items())
  days = " to ".join(
    dict.fromkeys(str(about[k])[:10] for k in ("first", "last") if about[k])
  )
  absent = about.get("missing", 0)
  facts = {
    "Protocol": about["protocol"],
    "Measured": f"{days or 'on a day not recorded'}, "
    f"{about['hours']:.1f} device hours of training, on {about['machine']}",
    "By": about["by"],
    "Versions": versions,
    "Diverged, and in no mean": "; ".join(divergence.words(one.run.diverged)),
    "Seconds": "not told, since other work shared the machine"
    if one.busy
    else "",
    "Not run": f"{absent} cells of these commands" if absent else "",
    "Code": about["git"],
    "Names of cells": "given by another version of the code, hence not "
    "computed again"
    if about["other_code"]
    else "",
  }
  return "\n".join(f"- {k}: {plain(v)}" for k, v in facts.items() if v)


def _titles(shown: Sequence[Row]) -> list[tuple[str, ...]]:
  return list(dict.fromkeys(map(_title, shown)))


def _title(row: Row) -> tuple[str, ...]:
  return tuple(row.names[key] for key in ("dataset", "model", "scenario"))


def _table(title: tuple[str, ...], shown: Sequence[Row]) -> str:
  every = {seed for row in shown for seed in row.seeds}
  differ = len({row.held for row in shown if row.held}) > 1
  lines, last = [], ()
  for row in (row for row in shown if _title(row) == title):
    model = (row.names["attack"], row.names["regime"])
    names = () if model == last else model
    line = _line(row, names, every)
    line[1] += f"{BREAK}{row.held}" if differ and row.held else ""
    lines.append(line)
    last = model
  return f"### {plain(', '.join(title))}\n\n{table(COLUMNS, lines)}"


def _seeds(row: Row, every: set[int]) -> str:
  seeds = row.seeds
  which = "" if set(seeds) == every else f": {', '.join(map(str, seeds))}"
  lost = f"{BREAK}{row.diverged} diverged" if row.diverged else ""
  return f"{len(seeds)}{which}{lost}"


def _line(row: Row, model: tuple[str, ...], every: set[int]) -> list[str]:
  marked = f"{BREAK}**{row.mark}**" if row.mark else ""
  return [
    BREAK.join(map(_code, model)),
    _code(row.names["defense"]),
    _number(row.ca),
    _number(row.asr) + marked,
    _kept(rows.span(row.floor)),
    _seeds(row, every),
    rows.seconds(row.seconds),
  ]


def _code(label: str) -> str:
  return f"`{label}`".replace("|", "\\|")


def _number(reading: Reading | None) -> str:
  """Returns a mean with its interval, and under it the seeds, if several."""
  span = _kept(rows.span(reading))
  if reading is None or reading.seeds < 2:
    return span
  return f"{span}{BREAK}{rows.by_seed(reading)}"


def _kept(text: str) -> str:
  """Returns text whose words stay on one line."""
  return text.replace(" ", "\N{NO-BREAK SPACE}")


def _elsewhere(one: Experiment) -> list[str]:
  moved = elsewhere.table(one.run.records)
  if not moved:
    return []
  keys = ("dataset", "attack", "regime", "defense")
  lines = [[*(f"`{r[k]}`" for k in keys), *r["values"]] for r in moved]
  head = "### In the user's task"
  text = table((*keys, *elsewhere.COLUMNS), lines)
  return [f"{head}\n\n{elsewhere.NOTE}", text]


def _sequela(one: Experiment) -> list[str]:
  parts = []
  for each in tables.pivot(one.run.records):
    leaks, relapses, woken = sequela.rows(one.run, each)
    keys = ("attack", "regime", "sequel", "model")
    if leaks:
      attacks = sequela.ATTACKS.values()
      columns = [f"{b}, {a}" for a in attacks for b in sequela.COLUMNS]
      lines = [
        [*(f"`{r[k]}`" for k in keys), r["group"], r["members"], *r["values"]]
        for r in leaks
      ]
      titles = (*keys, "members", "of them", *columns)
      parts += [sequela.LEAKS, table(titles, lines)]
    if relapses:
      lines = [[*(f"`{r[k]}`" for k in keys), *r["values"]] for r in relapses]
      titles = (*keys, *sequela.RELAPSE, sequela.LESS, sequela.EPOCHS)
      parts += [sequela.RELAPSES, table(titles, lines)]
    if woken:
      lines = [[*(f"`{r[k]}`" for k in keys), *r["values"]] for r in woken]
      titles = (*keys, *reactivations.COLUMNS)
      parts += [reactivations.NOTE, table(titles, lines)]
  return ["### What defenses leave behind", *parts] if parts else []
