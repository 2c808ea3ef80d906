"""One line of a results table: what came of an attack, a regime, a defense."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from bdjax.archive import checks
from bdjax.archive.experiment import Experiment
from bdjax.report import divergence, judging, results, tables
from bdjax.report.judging import NONE
from bdjax.runs import plans
from bdjax.study import catalog, measured
from bdjax.study.measured import Reading

MARKS = {  # beside what an ASR is, so that none of these is read as a success
  tables.UNPLANTED: "the ASR before any defense was below "
  f"{100 * tables.PLANTED:.0f} % in a seed, or the accuracy at chance, so the "
  "row says nothing of the defense",
  tables.DESTROYED: "the defense took more than half of what accuracy the "
  "model had above chance, so a low ASR is no success",
}


class Row(NamedTuple):
  """A group of cells that differ in their seeds alone; rates in percent.

  Attributes:
    experiment: the name of its folder.
    names: dataset, model, attack, regime, scenario and defense.
    protocol: of its experiment, in words; equal for equal protocols alone.
    ca: clean accuracy.
    asr: attack success rate, target class left out; after a transfer the
      collapse (`judging.success`).
    floor: what a clean model after the same defense answers to the trigger;
      None where that was not measured.
    der: defense effectiveness; None where no defense is to be judged, or the
      model came from another task.
    seconds: of training: of the defense, or of planting where there is none;
      None on a machine that other work shared.
    held: how many clean images the defender holds, in words, or "".
    mark: one of `MARKS`, or "".
    diverged: seeds that have no result since their training diverged.
  """

  experiment: str
  names: dict[str, str]
  protocol: str
  ca: Reading
  asr: Reading
  floor: Reading | None
  der: Reading | None
  seconds: float | None
  held: str
  mark: str
  diverged: int = 0

  @property
  def seeds(self) -> list[int]:
    """The seeds, sorted."""
    return sorted(seed for seed, _ in self.asr.values)


def rows(experiment: Experiment) -> list[Row]:
  """Returns the rows of an experiment, undefended models first.

  Those are in it for models without a cell of their own, too, where their rates
  before their defenses are known.
  """
  groups: dict[tuple[str, ...], list[results.Record]] = {}
  for record in experiment.run.records:
    if judging.stands_in(record) and record["asr"] is None:
      continue  # of an encoder, which classifies nothing by itself
    key = tuple(record[name] for name in results.GROUP)
    groups.setdefault(key, []).append(record)
  words = protocol(experiment)
  every = [_row(experiment, words, key, c) for key, c in groups.items()]
  lost = divergence.counted(experiment.run.diverged)
  every = [
    row._replace(diverged=lost.get(key, 0))
    for key, row in zip(groups, every, strict=True)
  ]
  order = list(dict.fromkeys(map(_named, experiment.run.cells)))
  return sorted(
    every,
    key=lambda r: (order.index(_named(r.names)), r.names["defense"] != NONE),
  )


def several(experiments: Iterable[Experiment]) -> list[Row]:
  """Returns the rows of all experiments."""
  return [row for one in experiments for row in rows(one)]


def protocol(experiment: Experiment) -> str:
  """Returns a protocol's name, which tells it from all others.

  It ends with digits of a digest of everything that cells of the protocol
  share, test images included.
  """
  config, cells = experiment.about["config"], experiment.run.cells
  studies = catalog.of(config)
  prints = sorted({str(r.get("fingerprint_test")) for r in cells})
  digest = plans.digest([checks.identity(config), prints])[:4]
  followed = [catalog.follows(study, config) for study in studies]
  whose = "the paper's" if followed and all(followed) else "own"

  def named(key: str) -> str:
    values = (r[key] for r in cells if r.get(key) is not None)
    return tables.several(values) or "?"

  train = config["train"]
  size = tables.between(r.get("train_images") for r in cells)
  return (
    f"{whose}: {size} images, {named('model')} of width {named('width')}, "
    f"{named('train_epochs')} epochs of batches of {train['batch_size']}, "
    f"equal {train['match']}, {digest}"
  )


def span(reading: Reading | None) -> str:
  """Returns "mean [low, high]" in percent; one seed has only the mean."""
  if reading is None:
    return "–"
  if reading.how == measured.POINT:
    return f"{reading.mean:.1f}"
  return f"{reading.mean:.1f} [{reading.low:.1f}, {reading.high:.1f}]"


def by_seed(reading: Reading | None) -> str:
  """Returns a reading's values in the order of the seeds."""
  if reading is None:
    return "–"
  return ", ".join(f"{value:.1f}" for _, value in sorted(reading.values))


def seconds(value: float | None) -> str:
  """Returns seconds, whole from ten on."""
  if value is None:
    return "–"
  return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _named(names: Mapping[str, Any]) -> tuple[str, ...]:
  """Returns what names a model, but for its seed."""
  return tuple(names[key] for key in results.GROUP if key != "defense")


def _row(
  experiment: Experiment,
  protocol: str,
  key: tuple[str, ...],
  cells: Sequence[results.Record],
) -> Row:
  (summary,) = results.summarize(cells)
  names = dict(zip(results.GROUP, key, strict=True))
  ca, asr = (_reading(cells, name) for name in ("ca", summary["success"]))
  mark = word if (word := tables.verdict(summary)) in MARKS else ""
  unjudged = names["defense"] == NONE or mark
  return Row(
    experiment=experiment.name,
    names=names,
    protocol=protocol,
    ca=ca,
    asr=asr,
    floor=_reading(cells, f"clean_{summary['success']}"),
    der=None if unjudged else _reading(cells, "der"),
    seconds=None if experiment.busy else summary["seconds_train"],
    held=_held(cells) if names["defense"] != NONE else "",
    mark=mark,
  )


def _held(cells: Sequence[results.Record]) -> str:
  count = tables.between(record["clean_images"] for record in cells)
  return f"{count} clean images"


def _reading(cells: Sequence[results.Record], key: str) -> Reading | None:
  values = {record["seed"]: record.get(key) for record in cells}
  if None in values.values():
    return None
  return measured.estimate({s: 100 * v for s, v in values.items()}, (0, 100))
