"""What the defense left behind: who tells members, relapses, or is woken."""

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from bdjax.report import figures, groups, leftovers, reactivations, tables
from bdjax.report.curves import Line, line
from bdjax.report.judging import NONE
from bdjax.report.leftovers import MEMORIZES_NOT, Beside
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
COLUMNS = ("memorizes", *RATES.values(), "AUROC, less clean")  # of each attack
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
LESS = "area, less clean"
EPOCHS = "epochs to 90 %"
LEAKS = (
  "Membership inference: how well attacks that learned from one shadow model "
  "tell training images from test images, 50 being chance. TPR: the share of "
  "members found when .1 or 1 % of the others are taken for members too. Only "
  "images that a defense was not tuned on compare defenses; poisons are told "
  "from triggered test images. The shadow model, clean and of the same recipe, "
  "saw half of the images, so that its thresholds, hence balanced accuracies "
  "and everything by class, are not the best for the target. A rate is given "
  "only if the same rate was above chance before the defense, at 95 %: of a "
  "model that does not memorize, membership says nothing. Less clean: points "
  "above the clean model of the same seed after the same defense."
)
RELAPSES = (
  "Poisons are trained back in. ASR on the whole test set, accuracy on the "
  "poisons of the training set. Area: under the curve of ASR by epoch, 100 "
  "being a backdoor that was there all along. Clean models never had it; what "
  "a defended model compares with is the clean one after the same defense, "
  "seed by seed (less clean, in points). Defenses that need the training set "
  "have none. Attacks without a poisoned training set are left out."
)


class Rows(NamedTuple):
  """Rows of tables of what is left behind.

  Attributes:
    leaks: of membership.
    relapses: of what was trained back in.
    reactivations: of what was woken.
  """

  leaks: list[dict[str, Any]]
  relapses: list[dict[str, Any]]
  reactivations: list[dict[str, Any]]


def section(
  run: Run, table: tables.Table, looks: dict[str, figures.Style]
) -> dict[str, Any] | None:
  """Returns what page and console show of one table's models; None of none.

  Args:
    run: with what was recorded of sequela.
    table: whose models; its attacks and defenses give the order.
    looks: defense -> style.
  """
  found = rows(run, table)
  if not any(found):
    return None
  panels = _panels(run, _here(run, table)[1], table, looks | LOOK)
  return {
    **found._asdict(),
    "panels": panels,
    "drawn": [CLEAN_MODEL, *table.defenses] if panels else [],
  }


def rows(run: Run, table: tables.Table) -> Rows:
  """Returns what is known of one table's models."""
  membership, retraining, waking = _here(run, table)
  return Rows(
    leaks(membership, table),
    relapses(retraining, table),
    reactivations.rows(waking, table),
  )


def _here(run: Run, table: tables.Table) -> tuple[list[Record], ...]:
  """Returns the table's records of membership, of retraining and of waking."""
  keys = ("dataset", "model", "scenario")
  here = [r for r in run.sequela if tuple(r[k] for k in keys) == table.title]
  membership = [r for r in here if r["kind"] == "membership"]
  marks = ("area", "reactivated")
  return membership, *([r for r in here if mark in r] for mark in marks)


def leaks(
  records: Sequence[Record], table: tables.Table
) -> list[dict[str, Any]]:
  """Returns a row per model and group of members, in percent.

  Returns:
    Rows: `attack`, `regime`, `model`, `sequel`, `group`, `members` (mean number
    of them) and `values`, a text for each of `ATTACKS` and `COLUMNS`.
  """
  rows, beside = [], Beside(records)
  for label, cells in groups.grouped(records, table):
    counts = {g: groups.mean(cells, f"network.{g}.members") for g in GROUPS}
    if not counts["tuned"]:
      counts.pop("rest")  # the same as all
    rows += [
      label | _leak(cells, beside, group, count)
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
    `RELAPSE`, for `LESS` and for the epochs to an ASR of 90 %.
  """
  rows, beside = [], Beside(records)
  for label, cells in groups.grouped(records, table):
    values = [groups.percent(cells, name) for name in RELAPSE.values()]
    values.append(groups.gain(cells, beside, "area"))
    values.append(_epochs([cell["epochs_to_90"] for cell in cells]))
    rows.append(label | {"values": values})
  return rows


def _leak(
  cells: list[Record], beside: Beside, group: str, count: float
) -> dict[str, Any]:
  texts = [_rates(cells, beside, attack, group) for attack in ATTACKS]
  return {
    "group": GROUPS[group],
    "members": f"{count:,.0f}",
    "values": [text for some in texts for text in some],
  }


def _rates(
  cells: list[Record], beside: Beside, attack: str, group: str
) -> list[str]:
  """Returns an attack's `COLUMNS`, without what chance gave before."""
  known = {
    rate: [beside.memorizes(cell, attack, group, rate) for cell in cells]
    for rate in RATES
  }
  shown = [rate for rate in RATES if all(known[rate])]
  values = {r: groups.percent(cells, f"{attack}.{group}.{r}") for r in RATES}
  start = all(leftovers.place(cell).defense == NONE for cell in cells)
  texts = [values[r] if start or r in shown else "–" for r in RATES]
  gain = "–"
  if "auroc" in shown:
    gain = groups.gain(cells, beside, f"{attack}.{group}.auroc")
  return [_memorizes(known, shown), *texts, gain]


def _memorizes(known: dict[str, list[bool | None]], shown: list[str]) -> str:
  """Returns in words by which rates all seeds' models memorized."""
  if len(shown) == len(RATES):
    return "yes"
  if shown:
    return f"by {', '.join(RATES[rate] for rate in shown)}"
  asked = [answer for some in known.values() for answer in some]
  return "not known" if None in asked else MEMORIZES_NOT


def _panels(
  run: Run,
  records: Sequence[Record],
  table: tables.Table,
  looks: dict[str, figures.Style],
) -> list[tuple[str, str, str]]:
  """Returns (attack, words, SVG), a figure per attack, regime and sequel."""
  lines: dict[tuple[str, str, str], dict[tuple[bool, str], Line]] = {}
  for label, cells in groups.grouped(records, table):
    drawn = line(cells, run.curves, "asr")
    if drawn:
      key = (label["attack"], label["regime"], label["sequel"])
      here = leftovers.place(cells[0])
      lines.setdefault(key, {})[here.clean, here.defense] = drawn
  return [
    (attack, f"{regime}, {sequel}", _panel(same, looks))
    for (attack, regime, sequel), same in lines.items()
  ]


def _panel(
  lines: dict[tuple[bool, str], Line], looks: dict[str, figures.Style]
) -> str:
  def draw(axes: "Axes") -> None:
    for (clean, defense), drawn in lines.items():
      alone = clean and defense == NONE
      look = looks[CLEAN_MODEL if alone else defense]
      figures.draw_line(axes, drawn, look, dashed=clean)
    axes.set(xlabel="epoch with poisons", ylabel="ASR, percent", ylim=(-4, 104))
    axes.xaxis.get_major_locator().set_params(integer=True)

  return figures.svg(draw, 3.6, 2.4)


def _epochs(values: list[int | None]) -> str:
  """Returns the mean ± sd of epochs, of those seeds that got there."""
  known = [value for value in values if value is not None]
  if not known:
    return "never"
  sd = f" ± {statistics.stdev(known):.1f}" if len(known) > 1 else ""
  lost = len(values) - len(known)
  some = f" ({len(known)} of {len(values)} seeds)" if lost else ""
  return f"{statistics.fmean(known):.1f}{sd}{some}"
