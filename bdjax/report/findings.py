"""What defenses found beside repairing: poisons, triggered inputs, triggers."""

from typing import Any

from bdjax.report import images, results
from bdjax.report.load import Run
from bdjax.report.tables import percent

_SHOWN = 12  # pictures per kind and cell


def words(cells: list[results.Record]) -> list[str]:
  """Returns in words what a defense found, over one group's seeds.

  Args:
    cells: of one attack, regime and defense.

  Returns:
    A sentence per kind of finding; none for a defense that only repairs.
  """
  (row,) = results.summarize(cells)
  sentences = []
  if row["removed"] is not None:
    sentences.append(
      f"removed {row['removed']:,.0f} training images: precision "
      f"{percent(row, 'precision')}, recall {percent(row, 'recall')}, "
      f"{row['kept_poisons']:,.0f} poisons left"
    )
  if any("auroc" in cell for cell in cells):
    rates = " / ".join(percent(row, f"tpr_at_{i}") for i in (1, 5, 10))
    sentences.append(
      f"triggered inputs: AUROC {percent(row, 'auroc')}, found {rates} at "
      "1 / 5 / 10 false alarms"
    )
  if row["verdict"] is not None:
    sd = row["verdict_sd"]
    spread = "" if sd is None else f" ± {sd:.2f}"
    index = f"{row['verdict']:.2f}{spread}"
    sentences.append(f"evidence of a backdoor {index}; {_flagged(cells)}")
  return sentences


def _flagged(cells: list[results.Record]) -> str:
  """Returns which classes were flagged, and by how many seeds if not all."""
  seen: dict[int, int] = {}
  for cell in cells:
    for i, hit in enumerate(cell.get("memo.flagged") or []):
      seen[i] = seen.get(i, 0) + bool(hit)
  hits = {i: n for i, n in seen.items() if n}
  if not hits:
    return "no class flagged"
  texts = [
    str(i) if n == len(cells) else f"{i} ({n} of {len(cells)} seeds)"
    for i, n in sorted(hits.items())
  ]
  return f"classes flagged: {', '.join(texts)}"


def table(records: list[results.Record]) -> list[dict[str, Any]]:
  """Returns a row per attack, regime and defense that found something."""
  groups: dict[tuple[str, ...], list[results.Record]] = {}
  for record in records:
    key = tuple(record[name] for name in results.GROUP)
    groups.setdefault(key, []).append(record)
  rows = [
    dict(zip(results.GROUP, key, strict=True)) | {"found": words(cells)}
    for key, cells in groups.items()
  ]
  return [row for row in rows if row["found"]]


def pictures(run: Run) -> list[dict[str, Any]]:
  """Returns the pictures that defenses found, of every group's first cell."""
  shown = {}
  for record in run.records:
    key = tuple(record[name] for name in results.GROUP)
    if record["cell"] in run.findings:
      shown.setdefault(key, record)
  return [_strip(run, record) for record in shown.values()]


def _strip(run: Run, record: results.Record) -> dict[str, Any]:
  picture = run.pictures.get(record["planted"])
  names = picture.names if picture else []
  by_name = run.findings[record["cell"]]
  return {
    "attack": record["attack"],
    "regime": record["regime"],
    "defense": record["defense"],
    "seed": record["seed"],
    "data": record["dataset"],
    "rows": [
      (name, _row(record, found, names)) for name, found in by_name.items()
    ],
  }


def _row(
  record: results.Record, found: Any, names: list[str]
) -> list[tuple[str, str]]:
  """Returns (word, picture) pairs; pictures of classes, flagged ones first."""
  flags = record.get("memo.flagged") or []
  classes = len(found) == len(flags)
  order = sorted(range(len(found)), key=lambda i: classes and not flags[i])

  def word(i):
    if not classes:
      return str(i)
    name = names[i] if i < len(names) else str(i)
    return f"{name} (flagged)" if flags[i] else name

  return [(word(i), images.png(found[i])) for i in order[:_SHOWN]]
