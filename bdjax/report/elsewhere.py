"""What triggers do in a task of other classes, beside a clean model there."""

from collections import Counter
from typing import Any

from bdjax.report import results
from bdjax.report.tables import percent

COLUMNS = {
  "CA": "ca",
  "ASR": "asr",
  "collapse": "collapse",
  "accuracy, triggered": "ta",
  "drop": "drop",
}
NOTE = (
  "Scored in the user's task. In parentheses: a clean model, adapted likewise. "
  "ASR: the share of triggered images that get the target's index, after a "
  "transfer that of a class of the old task. Collapse: the largest share that "
  "one class takes of other classes' triggered images. Drop: accuracy on "
  "triggered images less the clean model's (FMN, Table 3)."
)


def table(records: list[results.Record]) -> list[dict[str, Any]]:
  """Returns a row per attack, regime and defense that was scored elsewhere.

  Returns:
    Rows with the keys of `results.GROUP` and `values`, a text per column. Where
    not all seeds were, the defense's name says how many.
  """
  rows = results.summarize(r for r in records if r.get("drop") is not None)
  every = Counter(map(_group, results.latest(records, "cell")))
  return [
    {name: row[name] for name in results.GROUP}
    | {"defense": row["defense"] + _share(row, every[_group(row)])}
    | {"values": [_value(row, name) for name in COLUMNS.values()]}
    for row in rows
  ]


def _group(record: results.Record) -> tuple[str, ...]:
  return tuple(record[name] for name in results.GROUP)


def _share(row: results.Record, count: int) -> str:
  some = len(row["seeds"])
  return f" ({some} of {count} seeds)" if some < count else ""


def _value(row: results.Record, name: str) -> str:
  clean = f"clean_{name}"
  if name == "drop":
    return f"{'+' if row[name] > 0 else ''}{percent(row, name)}"
  return f"{percent(row, name)} ({percent(row, clean)})"
