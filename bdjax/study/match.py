"""Which measured group stands for a printed cell, and why.

A printed cell is met by records of its datasets, its attack (by name, whatever
its arguments), its regime, and a defense of that name whose settings agree
with those that the cell's column states. Where several do, presets come in the
order of `STANDS` and `FEWER` (else: of the paper's name, none, any other), then
what has the fewest further arguments, then the first. What was chosen is shown
beside each verdict. If no record at all is of the data that the paper names,
others stand in, to be looked at and not to be judged.
"""

from typing import NamedTuple

from bdjax.methods import specs
from bdjax.report import divergence, judging, results
from bdjax.report.judging import NONE
from bdjax.report.load import Run
from bdjax.study import catalog, labels, measured, published
from bdjax.study.catalog import STUDIES
from bdjax.study.measured import Reading
from bdjax.study.published import Cell

Group = tuple[str, ...]  # values of results.GROUP
STANDS = {  # (paper, defense) -> presets, best first, and the reason
  ("fmn", "ft"): (("fmn", None, "sha"), "FMN tunes at a constant rate"),
  ("fmn", "super_ft"): (("fmn", None), "FMN's re-run has 20 % clean data"),
  ("fmn", "ft_sam"): (
    ("fmn", None),
    "FMN says SAM with rho 2 and no more; without a preset, its authors' own",
  ),
  ("fmn", "nad"): (("fmn", None), "FMN: 20 epochs of teacher and of student"),
  ("sha", "ft"): (("sha", None), "the rate of pre-training, all clean data"),
  ("sha", "super_ft"): (
    ("paper", None),
    "supplement A.2; fmn and scarce differ from it in what columns state",
  ),
}
FEWER = {("sha", "super_ft"): ("fmn", "scarce")}  # likewise, of a stated share


class Evidence(NamedTuple):
  """All that was measured for a study."""

  study: str
  run: Run
  groups: dict[Group, list[results.Record]]
  paper: bool = False  # whether every record followed its paper's protocol
  foreign: bool = False  # whether none is of the data that the paper names

  @property
  def places(self) -> list[tuple[str, ...]]:
    """The datasets of the records, each as `datasets` returns them."""
    return list(dict.fromkeys(datasets(group[0]) for group in self.groups))


def group(records: list[results.Record]) -> dict[Group, list[results.Record]]:
  """Returns records by what they have in common but the seed.

  Raises:
    ValueError: two different cells of one group have the same seed.
  """
  results.summarize(records)  # refuses mixed protocols
  groups: dict[Group, list[results.Record]] = {}
  for record in results.latest(records, "cell"):
    key = tuple(record[name] for name in results.GROUP)
    groups.setdefault(key, []).append(record)
  return groups


def find(evidence: Evidence, cell: Cell) -> Group | None:
  """Returns the group that stands for a printed cell, or None."""
  ranked = [
    (rank, i, key)
    for i, (key, records) in enumerate(evidence.groups.items())
    if (rank := _rank(evidence, cell, key, records[0])) is not None
  ]
  return min(ranked)[2] if ranked else None


def followed(evidence: Evidence, group: Group | None) -> bool:
  """Returns whether a group's records followed the paper's protocol.

  The run must, and its methods have no arguments that the paper does not give.
  """
  if not evidence.paper or group is None:
    return evidence.paper
  row = dict(zip(results.GROUP, group, strict=True))
  names = ("attack", "regime", "defense")
  methods = [labels.spec(row[name]) for name in names]
  return None not in methods and catalog.stated(evidence.study, methods)


def reading(evidence: Evidence, cell: Cell) -> Reading | None:
  """Returns what was measured of a printed cell, or None."""
  result = measured.read(records(evidence, cell), cell, evidence.run)
  if result is None or not cell.attack:
    return result
  return result._replace(diverged=diverged(evidence, find(evidence, cell)))


def diverged(evidence: Evidence, group: Group | None) -> int:
  """Returns how many cells of a group have no result since they diverged."""
  return divergence.counted(evidence.run.diverged).get(group, 0)


def lost(evidence: Evidence, cell: Cell) -> int:
  """Returns how many cells diverged that could stand for a printed one."""
  return sum(
    _rank(evidence, cell, tuple(r[k] for k in results.GROUP), r) is not None
    for r in evidence.run.diverged
  )


def records(evidence: Evidence, cell: Cell) -> list[results.Record]:
  """Returns the records that stand for a printed cell."""
  if not cell.attack:
    return [
      record
      for key, members in evidence.groups.items()
      if _defense(cell, key, members[0]) is not None
      for record in members
    ]
  key = find(evidence, cell)
  return [] if key is None else evidence.groups[key]


def stretched(evidence: Evidence, cell: Cell) -> bool:
  """Returns whether a method of its own arguments stands for the paper's.

  Of a regime all do, such as where it starts; of a tuning those that neither
  its preset nor the printed column gives, and with Sha et al., who state a
  share of the clean images where it is not all of them, any other share.
  """
  wanted, group = specs.parse(cell.defense)[0], find(evidence, cell)
  if group is None:
    return False
  regime = labels.spec(group[results.GROUP.index("regime")])
  if regime is None or regime.args:
    return True
  if (STUDIES[cell.study].paper, wanted.name) not in STANDS:
    return False
  record = evidence.groups[group][0]
  found = _defense(cell, group, record)
  return found is not None and (found[1] > 0 or _fewer(cell, group, record))


def _fewer(cell: Cell, group: Group, record: results.Record) -> bool:
  """Returns whether a defender has some images where Sha et al. mean all."""
  wanted = specs.parse(cell.defense)[0]
  stated = STUDIES[cell.study].wanted | wanted.args
  if STUDIES[cell.study].paper != "sha" or "clean_rate" in stated:
    return False
  defense = labels.spec(group[results.GROUP.index("defense")])
  return labels.partial(defense, record)


def destroyed(evidence: Evidence, cell: Cell) -> bool:
  """Returns whether a printed cell's defense destroyed the models here.

  By then, where an epoch is named and the accuracy was probed there.
  """
  found = records(evidence, cell)
  if cell.epoch is not None:
    then = measured.read(found, cell._replace(metric="ca"), evidence.run)
    values = dict(then.values) if then else {}
    found = [
      record | {"ca": values[record["seed"]] / 100}
      for record in found
      if record["seed"] in values
    ]
  return any(map(judging.destroyed, found))


def untaught(evidence: Evidence, cell: Cell) -> bool:
  """Returns whether a printed cell's models here were no classifiers at all."""
  return any(map(judging.untaught, results.summarize(records(evidence, cell))))


def ruined(evidence: Evidence, cell: Cell) -> bool:
  """Returns whether it did so here, and not in the paper by its accuracies."""
  if cell.epoch is not None or not destroyed(evidence, cell):
    return False
  printed: results.Record = {
    "classes": records(evidence, cell)[0].get("classes")
  }
  for name, defense in (("ca_before", NONE), ("ca", cell.defense)):
    percent = published.value(cell.near(defense, "ca"))
    printed[name] = None if percent is None else percent / 100
  return not judging.destroyed(printed)


def before(cell: Cell) -> Cell:
  """Returns the cell of the success rate that a defense started from.

  An encoder has none of its own: the classifier on the fixed encoder shows it.
  """
  head = cell.study == "sha_fig2" and cell.defense == "ft.encoder"
  return cell.near("ft.classifier" if head else NONE)


def started(evidence: Evidence, cell: Cell) -> Reading | None:
  """Returns what a defense started from: its own models' success rate."""
  start = before(cell)
  rates = {r["seed"]: results.planted(r) for r in records(evidence, cell)}
  if start.defense != NONE or not cell.attack or None in rates.values():
    return reading(evidence, start)
  percent = {seed: 100 * rate for seed, rate in rates.items()}
  return measured.estimate(percent, (0.0, 100.0)) if percent else None


def reason(cell: Cell) -> str:
  """Returns why a preset of ours stands for a printed defense, or ""."""
  spec = specs.parse(cell.defense)[0]
  key = (STUDIES[cell.study].paper, spec.name)
  return "" if spec.preset else STANDS.get(key, ((), ""))[1]


def datasets(text: str) -> tuple[str, ...]:
  """Returns a record's datasets without the sizes they were brought to."""
  return tuple(part.partition("@")[0] for part in text.split(" -> "))


def wanted_datasets(cell: Cell) -> tuple[str, ...]:
  """Returns the datasets that a printed cell is of."""
  return cell.datasets or STUDIES[cell.study].datasets


def _stranger(evidence: Evidence, cell: Cell, text: str) -> bool | None:
  """Returns whether a group is of other data; None if it cannot stand in."""
  wanted, sets = wanted_datasets(cell), datasets(text)
  if sets == wanted:
    return False
  stands = evidence.foreign and wanted not in evidence.places
  return True if stands and len(sets) == len(wanted) else None


def _rank(
  evidence: Evidence, cell: Cell, key: Group, record: results.Record
) -> tuple | None:
  row = dict(zip(results.GROUP, key, strict=True))
  stranger = _stranger(evidence, cell, row["dataset"])
  if stranger is None:
    return None
  attack, regime = labels.spec(row["attack"]), labels.spec(row["regime"])
  regimes = (
    ("conventional", "fmn") if cell.regime == "clean" else (cell.regime,)
  )
  known = attack and regime and attack.name == cell.attack
  if not known or regime.name not in regimes:
    return None
  defense = _defense(cell, key, record)
  if defense is None:
    return None
  order = (regimes.index(regime.name), _liked(cell, attack.preset))
  return (stranger, *defense, *order, len(attack.args) + len(regime.args))


def _liked(cell: Cell, preset: str | None) -> int:
  """Returns the place of a preset where the paper says nothing of it."""
  order = (STUDIES[cell.study].paper, None)
  return order.index(preset) if preset in order else len(order)


def _defense(
  cell: Cell, key: Group, record: results.Record
) -> tuple[int, int] | None:
  """Returns how well a group's defense meets a cell's; None if it does not."""
  label = key[results.GROUP.index("defense")]
  if NONE in (label, cell.defense):
    return (0, 0) if label == cell.defense else None
  wanted, defense = specs.parse(cell.defense)[0], labels.spec(label)
  if defense is None or defense.name != wanted.name:
    return None
  whose = STUDIES[cell.study].paper, wanted.name
  stated = STUDIES[cell.study].wanted | wanted.args
  stands = STANDS.get(whose, ((), ""))[0]
  if "clean_rate" in stated:
    stands += FEWER.get(whose, ())
  presets = (wanted.preset,) if wanted.preset else stands
  if presets and defense.preset not in presets:
    return None
  known = labels.settings(defense, record) if stated else {}
  if any(known.get(name) != value for name, value in stated.items()):
    return None
  place = (
    presets.index(defense.preset) if presets else _liked(cell, defense.preset)
  )
  return place, len(defense.args.keys() - stated.keys())
