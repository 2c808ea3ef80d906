"""Rows by columns, and numbers in words: what console and page agree on."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from bdjax.report import judging, results
from bdjax.report.judging import NONE

FORGOTTEN, KEPT = 0.2, 0.5  # ASR below: backdoor gone; from here on: alive
UNPLANTED, DESTROYED = "attack failed", "destroyed"
UNJUDGED = (UNPLANTED, DESTROYED)  # such a model says nothing of a defense
MARKS = {UNPLANTED: "†", DESTROYED: "‡"}
LATEX = {"±": r"$\pm$", "–": "--", "†": r"$^\dagger$", "‡": r"$^\ddagger$"}
PLANTED = 0.9  # ASR without a defense from which on there is a backdoor at all
MOVED = (
  "After a transfer the new head has no target class: what is left there is "
  "the collapse, the largest share that one class takes of other classes' "
  "triggered images."
)


class Table(NamedTuple):
  """One attack x defense table; all of its cells share `title`."""

  title: tuple[str, str, str]  # dataset, model, scenario
  attacks: list[tuple[str, str]]  # (attack, regime), in first-seen order
  defenses: list[str]  # "none" first, then in first-seen order
  rows: dict[tuple[str, str, str], results.Record]  # (attack, regime, defense)
  records: list[results.Record]  # the cells behind the rows
  diverged: Sequence[results.Record] = ()  # cells that are in no row


def pivot(
  records: Iterable[results.Record], diverged: Iterable[results.Record] = ()
) -> list[Table]:
  """Returns one table per (dataset, model, scenario), in first-seen order.

  Args:
    records: cells.
    diverged: cells without a result, which are counted beside the others.
  """
  groups, lost = _titled(records), _titled(diverged)
  return [
    _table(title, cells, lost.get(title, ())) for title, cells in groups.items()
  ]


def _titled(
  records: Iterable[results.Record],
) -> dict[tuple[str, str, str], list[results.Record]]:
  groups: dict[tuple[str, str, str], list[results.Record]] = {}
  for record in records:
    title = (record["dataset"], record["model"], record["scenario"])
    groups.setdefault(title, []).append(record)
  return groups


def defenses(records: Iterable[results.Record]) -> list[str]:
  """Returns the defenses in first-seen order, "none" before all others."""
  seen = dict.fromkeys(record["defense"] for record in records)
  return sorted(seen, key=lambda name: name != NONE)


def _table(
  title: tuple[str, str, str],
  cells: list[results.Record],
  lost: Sequence[results.Record],
) -> Table:
  rows = results.summarize(cells)
  every = [*rows, *lost]
  return Table(
    title=title,
    attacks=list(dict.fromkeys((r["attack"], r["regime"]) for r in every)),
    defenses=defenses([*cells, *lost]),
    rows={_key(row): row for row in rows},
    records=cells,
    diverged=lost,
  )


def _key(record: results.Record) -> tuple[str, str, str]:
  return record["attack"], record["regime"], record["defense"]


def lost(table: Table, key: tuple[str, str, str]) -> str:
  """Returns how many of a group's cells diverged, "" if none."""
  count = sum(_key(record) == key for record in table.diverged)
  return f"{count} diverged" if count else ""


def percent(row: results.Record, name: str) -> str:
  """Returns a fraction's mean ± sd in percent, "–" where there is none."""
  if row[name] is None:
    return "–"
  sd = row[f"{name}_sd"]
  spread = "" if sd is None else f" ± {100 * sd:.1f}"
  return f"{100 * row[name]:.1f}{spread}"


def interval(row: results.Record, name: str) -> str:
  """Returns a fraction's 95 % interval in percent, or that it is of one seed.

  It is Student's over seeds, and "" where a value is missing.
  """
  low, high = row[f"{name}_low"], row[f"{name}_high"]
  if low is not None:
    return f"[{100 * low:.1f}, {100 * high:.1f}]"
  alone = len(row["seeds"]) == 1 and row[name] is not None
  return "one seed" if alone else ""


def dots(row: results.Record) -> str:
  """Returns in words what the dots of a row's seeds show."""
  values = zip(row["seeds"], row["left_values"], strict=True)
  seeds = [
    f"seed {seed}: {100 * value:.1f}"
    for seed, value in values
    if value is not None
  ]
  name = rate(row)
  return f"{name} by {', '.join(seeds)}" if seeds else f"{name} not measured"


def verdict(row: results.Record) -> str:
  """Returns what the rate that is left says: "gone", "weak", "alive" or "".

  It says nothing where the word is one of `UNJUDGED`: an attack that failed in
  one seed, or a model that was destroyed in one, makes the mean over seeds one
  of two things.
  """
  if row["left"] is None:
    return ""
  before = row["asr_before_least"]
  if (before is not None and before < PLANTED) or judging.untaught(row):
    return UNPLANTED
  if judging.destroyed(row):
    return DESTROYED
  if row["left"] < FORGOTTEN:
    return "gone"
  return "alive" if row["left"] >= KEPT else "weak"


def moved(table: Table) -> bool:
  """Returns whether its defended models are judged by their collapse."""
  return judging.moved(table.title[2])


def rate(row: results.Record) -> str:
  """Returns what the rate that is left is called: ASR, or collapse."""
  return "ASR" if row["success"] == "asr" else row["success"]


def best(table: Table, label: tuple[str, str]) -> str | None:
  """Returns the defense that did most for a model, by DER or what is left.

  None where all of them left the backdoor alive. What is `UNJUDGED` is never
  the best, however low its ASR, and what diverged in a seed comes after what
  did not.

  Args:
    table: with the model's row.
    label: its attack and regime.
  """
  rows = {name: table.rows.get((*label, name)) for name in table.defenses}
  ranked = [
    (bool(lost(table, (*label, name))), -(row["der"] or 0.0), row["left"], name)
    for name, row in rows.items()
    if name != NONE and row and verdict(row) in ("gone", "weak")
  ]
  return min(ranked)[-1] if ranked else None


def rating(row: results.Record) -> str:
  """Returns DER in percent, "–" where no defense is to be judged.

  Of a model that nothing was done to the formula says 50, and of a ruin more.
  """
  nothing = row["defense"] == NONE or verdict(row) in UNJUDGED
  return "–" if nothing else percent(row, "der")


def floor(row: results.Record) -> str:
  """Returns what an ASR falls to at best: chance, and a clean model's rate."""
  least = f"chance {100 * judging.chance(row):.3g}"
  if row["clean_left"] is None:
    return least
  return f"{least}, clean model {percent(row, 'clean_left')}"


def several(values: Iterable[Any], *, most: int = 6) -> str:
  """Returns distinct values as a list in words, cut after `most`."""
  texts = list(dict.fromkeys(_short(value) for value in values))
  more = f" and {len(texts) - most} more" if len(texts) > most else ""
  return ", ".join(texts[:most]) + more


def between(values: Iterable[int | None]) -> str:
  """Returns "1,000" where all known values agree, else "1,000 to 2,000"."""
  values = [value for value in values if value is not None]
  if not values:
    return "an unknown number of"
  low, high = min(values), max(values)
  return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def protocol(records: list[results.Record]) -> str:
  """Returns in a few sentences what was counted, on how much, over how many."""
  seeds = sorted({record["seed"] for record in records})
  runs = [len(row["seeds"]) for row in results.summarize(records)]
  count = {n: between(r[n] for r in records) for n in results.COUNTS[:2]}
  clean = [r["clean_images"] for r in records if r["defense"] != NONE]
  held = f"The defender holds {between(clean)} clean images. " if clean else ""
  names = several(seeds)
  spread = (
    f"Mean ± standard deviation over {between(runs)} seeds ({names})"
    if max(runs) > 1
    else f"One seed per cell ({names}), hence no spread between seeds"
  )
  return (
    f"{spread}. CA on {count['test_images']} clean test images, ASR and RA on "
    f"{count['triggered_images']} triggered ones, target class left "
    f"out. {held}Ran on {devices(records)}."
  )


def losses(table: Table) -> str:
  """Returns in a sentence how many of a table's cells diverged, "" if none."""
  count = len(table.diverged)
  if not count:
    return ""
  real = {r["cell"] for r in table.records if not judging.stands_in(r)}
  every = count + len(real)
  return f" {count} of {every} cells diverged and are in no mean."


def vanished(
  records: Iterable[results.Record], diverged: Iterable[results.Record]
) -> list[str]:
  """Returns what has no table since every cell of it diverged, in words."""
  known, lost = _titled(records), _titled(diverged)
  return [
    f"{' / '.join(title)}: no result, since all cells diverged ({len(cells)})."
    for title, cells in lost.items()
    if title not in known
  ]


def devices(records: list[results.Record]) -> str:
  """Returns which devices the cells ran on, as "1 x name"."""
  return several(f"{r['devices']} x {r['device']}" for r in records)


def _short(value: Any) -> str:
  return f"{value:g}" if isinstance(value, float) else str(value)
