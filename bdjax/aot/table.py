"""Shows compiled programs as a table, for people."""

from typing import Any

from rich.table import Table

from bdjax.aot.targets import Target

LEGEND = (
  "MiB of a device: arguments, temporary, all together. Serial loops go round "
  "once per image. Times are no measurements: 'bound' is the larger of FLOP "
  "by peak and bytes by bandwidth, 'XLA' the compiler's own estimate without "
  "collectives, MFU is by that estimate, or by the bound (at most)."
)
_COLUMNS = (
  *("case", "compiles", "arguments", "temp", "total", "collectives"),
  *("serial loops", "convolutions", "grouped", "launches", "bound s"),
  *("XLA s", "MFU"),
)


def of(target: Target, rows: list[dict[str, Any]]) -> Table:
  """Returns the table of a target's programs."""
  memory = target.chip.memory / 2**30
  table = Table(title=f"{target.name}: {memory:.1f} GiB a device")
  for column in _COLUMNS:
    justify = "left" if column in ("case", "compiles") else "right"
    table.add_column(column, justify=justify)
  for row in rows:
    table.add_row(*_cells(row, gpu=target.gpu))
  return table


def _cells(row: dict[str, Any], *, gpu: bool) -> list[str]:
  program = row["program"]
  case = f"{row['case']}: {program}" if program else row["case"]
  if not row["compiles"]:
    return [case, row["why"][:60]]
  estimate = row.get("estimate_seconds")
  mfu = row.get("estimate_mfu")
  if mfu is None and row["roofline_seconds"]:
    mfu = row["arithmetic_seconds"] / row["roofline_seconds"]
  bound = "" if estimate else "< "
  return [
    case,
    "yes" if row["fits"] else "does not fit",
    *(f"{row[f'{k}_mib']:,.0f}" for k in ("argument", "temp", "total")),
    _counts(row["collectives"]),
    str(len(row["serial_loops"])),
    _counts(row["convolutions"]),
    str(row["grouped_convolutions"]),
    f"{row['launches']:,.0f}" if gpu else "-",
    f"{row['roofline_seconds']:.3g}",
    f"{estimate:.3g}" if estimate else "-",
    f"{bound}{mfu:.0%}" if mfu is not None else "-",
  ]


def _counts(counts: dict[str, int]) -> str:
  return ", ".join(f"{n} {name}" for name, n in counts.items()) or "-"
