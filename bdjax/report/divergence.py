"""Cells that have no result since their training diverged: they are counted.

A mean over the seeds that are left would else say nothing of the others.
"""

from collections import Counter
from collections.abc import Iterable

from bdjax.report.results import GROUP, Record


def without(
  diverged: Iterable[Record], cells: Iterable[Record]
) -> list[Record]:
  """Returns the diverged cells that have no result by another try."""
  known = {cell["cell"] for cell in cells}
  return [record for record in diverged if record["cell"] not in known]


def counted(diverged: Iterable[Record]) -> dict[tuple[str, ...], int]:
  """Returns how many cells diverged, by the values of `results.GROUP`."""
  return Counter(tuple(record[name] for name in GROUP) for record in diverged)


def words(diverged: Iterable[Record]) -> list[str]:
  """Returns a line for each group, with the number of cells that diverged."""
  counts = counted(diverged)
  return [f"{', '.join(key)}: {count}" for key, count in counts.items()]
