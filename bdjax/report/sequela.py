"""What the defense left behind: who tells its members, how soon it relapses."""

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bdjax.report import figures, tables
from bdjax.report.curves import Line, line
from bdjax.report.load import Run
from bdjax.report.results import CLEAN_MODEL, Record

if TYPE_CHECKING:
  from matplotlib.axes import Axes

LOOK = {CLEAN_MODEL: figures.Style("#808080", "o", "╌╌")}  # beside defenses'
ATTACKS = {
  "mentropy_by_class": "modified entropy by class",
  "network": "network",
}
RATES = {
  "auroc": "AUROC",
  "balanced_accuracy": "balanced accuracy",
  "tpr_at_0_1": "TPR at .1 %",
  "tpr_at_1": "TPR at 1 %",
}
GROUPS = {
  "members": "all",
  "tuned": "tuned on",
  "rest": "not tuned on",
  "poisons": "poisons",
}
RELAPSE = {
  "ASR before": "asr_before",
  "ASR after": "asr",
  "CA before": "ca_before",
  "CA after": "ca",
  "poisons before": "poison_accuracy_before",
  "poisons after": "poison_accuracy",
  "area": "area",
}
EPOCHS = "epochs to 90 %"
LEAKS = (
  "Membership inference: how well attacks that learned from one shadow model "
  "tell training images from test images, 50 being chance. TPR: the share of "
  "members found when .1 or 1 % of the others are taken for members too. Only "
  "images that a defense was not tuned on compare defenses; poisons are told "
  "from triggered test images. The shadow model, clean and of the same recipe, "
  "saw half of the images, so that its thresholds, hence balanced accuracies "
  "and everything by class, are not the best for the target."
)
RELAPSES = (
  "Poisons are trained back in. ASR on the whole test set, accuracy on the "
  "poisons of the training set. Area: under the curve of ASR by epoch, 100 "
  "being a backdoor that was there all along. The clean model never had it. "
  "Attacks without a poisoned training set are left out."
)


def section(
  run: Run, table: tables.Table, looks: dict[str, figures.Style]
) -> dict[str, Any] | None:
  """Returns what page and console show of one table's models; None of none.

  Args:
    run: with what was recorded of sequela.
    table: whose models; its attacks and defenses give the order.
    looks: defense -> style.
  """
  membership, retraining = rows(run, table)
  if not (membership or retraining):
    return None
  panels = _panels(run, _here(run, table)[1], table, looks | LOOK)
  return {
    "leaks": membership,
    "relapses": retraining,
    "panels": panels,
    "drawn": [CLEAN_MODEL, *table.defenses] if panels else [],
  }


def rows(
  run: Run, table: tables.Table
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
  """Returns the `leaks` and the `relapses` of one table's models."""
  membership, retraining = _here(run, table)
  return leaks(membership, table), relapses(retraining, table)


def _here(run: Run, table: tables.Table) -> tuple[list[Record], list[Record]]:
  """Returns the table's records of membership, and of retraining."""
  keys = ("dataset", "model", "scenario")
  here = [r for r in run.sequela if tuple(r[k] for k in keys) == table.title]
  membership = [r for r in here if r["kind"] == "membership"]
  return membership, [r for r in here if "area" in r]


def leaks(
  records: Sequence[Record], table: tables.Table
) -> list[dict[str, Any]]:
  """Returns a row per model and group of members, in percent.

  Returns:
    Rows: `attack`, `regime`, `model`, `sequel`, `group`, `members` (mean number
    of them) and `values`, a text for each of `ATTACKS` and `RATES`.
  """
  rows = []
  for label, cells in _grouped(records, table):
    counts = {g: _mean(cells, f"network.{g}.members") for g in GROUPS}
    if not counts["tuned"]:
      counts.pop("rest")  # the same as all
    rows += [
      label | _leak(cells, group, count)
      for group, count in counts.items()
      if count
    ]
  return rows


def relapses(
  records: Sequence[Record], table: tables.Table
) -> list[dict[str, Any]]:
  """Returns a row per model that poisons were trained back into.

  Returns:
    Rows: `attack`, `regime`, `model`, `sequel` and `values`, a text for each of
    `RELAPSE` and for the epochs to an ASR of 90 %.
  """
  rows = []
  for label, cells in _grouped(records, table):
    values = [_percent(cells, name) for name in RELAPSE.values()]
    values.append(_epochs([cell["epochs_to_90"] for cell in cells]))
    rows.append(label | {"values": values})
  return rows


def _leak(cells: list[Record], group: str, count: float) -> dict[str, Any]:
  names = [f"{attack}.{group}.{rate}" for attack in ATTACKS for rate in RATES]
  return {
    "group": GROUPS[group],
    "members": f"{count:,.0f}",
    "values": [_percent(cells, name) for name in names],
  }


def _grouped(
  records: Sequence[Record], table: tables.Table
) -> list[tuple[dict[str, str], list[Record]]]:
  """Returns seeds of one model and sequel, in the order of the table."""
  models = _order([CLEAN_MODEL, *table.defenses], records, "defense")
  attacks = _order([None, *(a for a, _ in table.attacks)], records, "attack")
  regimes = _order([None, *(r for _, r in table.attacks)], records, "regime")
  groups: dict[tuple, list[Record]] = {}
  for record in records:
    keys = (record["attack"], record["regime"], record["sequel"])
    groups.setdefault((*keys, record["defense"]), []).append(record)

  def rank(key):
    return key[2], attacks[key[0]], regimes[key[1]], models[key[3]]

  return [
    (
      {
        "attack": key[0] or "–",
        "regime": key[1] or "–",
        "sequel": key[2],
        "model": key[3],
      },
      groups[key],
    )
    for key in sorted(groups, key=rank)
  ]


def _order(
  known: list[str | None], records: Sequence[Record], name: str
) -> dict[str | None, int]:
  """Returns places: of what the table has, then of what only records have."""
  names = dict.fromkeys([*known, *(record[name] for record in records)])
  return {name: place for place, name in enumerate(names)}


def _panels(
  run: Run,
  records: Sequence[Record],
  table: tables.Table,
  looks: dict[str, figures.Style],
) -> list[tuple[str, str, str]]:
  """Returns (attack, words, SVG), a figure per attack, regime and sequel."""
  lines: dict[tuple[str, str, str], dict[str, Line]] = {}
  for label, cells in _grouped(records, table):
    drawn = line(cells, run.curves, "asr")
    if drawn:
      key = (label["attack"], label["regime"], label["sequel"])
      lines.setdefault(key, {})[cells[0]["defense"]] = drawn
  return [
    (attack, f"{regime}, {sequel}", _panel(same, looks))
    for (attack, regime, sequel), same in lines.items()
  ]


def _panel(lines: dict[str, Line], looks: dict[str, figures.Style]) -> str:
  def draw(axes: "Axes") -> None:
    for model, drawn in lines.items():
      dashed = model == CLEAN_MODEL
      figures.draw_line(axes, drawn, looks[model], dashed=dashed)
    axes.set(xlabel="epoch with poisons", ylabel="ASR, percent", ylim=(-4, 104))
    axes.xaxis.get_major_locator().set_params(integer=True)

  return figures.svg(draw, 3.6, 2.4)


def _percent(cells: list[Record], name: str) -> str:
  """Returns the mean ± sd over seeds of a recorded fraction, in percent."""
  values = [cell.get(name) for cell in cells]
  if None in values:
    return "–"
  sd = statistics.stdev(values) if len(values) > 1 else None
  row = {name: statistics.fmean(values), f"{name}_sd": sd}
  return tables.percent(row, name)


def _mean(cells: list[Record], name: str) -> float:
  return statistics.fmean(cell[name] for cell in cells)


def _epochs(values: list[int | None]) -> str:
  """Returns the mean ± sd of epochs, of those seeds that got there."""
  known = [value for value in values if value is not None]
  if not known:
    return "never"
  sd = f" ± {statistics.stdev(known):.1f}" if len(known) > 1 else ""
  lost = len(values) - len(known)
  some = f" ({len(known)} of {len(values)} seeds)" if lost else ""
  return f"{statistics.fmean(known):.1f}{sd}{some}"
