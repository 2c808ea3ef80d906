"""An experiment as it is kept: packed records, and what they were measured by.

experiment.json     title, commands, machine, dates, versions, protocol, config
results.jsonl.xz    a record per cell, as `report.results` has them
curves.jsonl.xz     epochs of planting and of defending, if any were kept
sequela.jsonl.xz    what defenses left behind, if it was asked
diverged.jsonl.xz   cells that have no result since their training diverged
"""

import json
import lzma
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bdjax.machine import storage
from bdjax.report import results, tables
from bdjax.report.judging import NONE
from bdjax.report.load import Run, load

ABOUT = "experiment.json"
LOGS = ("results", "curves", "sequela", "diverged")
NEEDED = ("title", "by", "note", "commands", "other_code", "config")
TOY = "synthetic"  # images that are drawn, and show only that a run works
LARGEST = 1 << 28  # bytes that a packed log may unpack to (chosen)


class Experiment(NamedTuple):
  """One experiment of docs/results."""

  name: str  # of its folder
  about: dict[str, Any]  # what experiment.json says
  run: Run

  @property
  def busy(self) -> bool:
    """Whether other work shared the machine, so that seconds are no cost."""
    return self.about.get("busy", False)


def folder() -> Path:
  """Returns where the experiments lie.

  Raises:
    ValueError: this is an installation without the repository.
  """
  path = Path(__file__).parents[2] / "docs"
  if not path.is_dir():
    raise ValueError(
      f"measured experiments lie in {path}, which is not there: run from a "
      "clone of the repository."
    )
  return path / "results"


def read_all(place: Path) -> list[Experiment]:
  """Returns every experiment of a folder, by name.

  Args:
    place: the folder; it may be missing.

  Raises:
    ValueError: one of them cannot be read.
  """
  return [read(path.parent) for path in sorted(place.glob(f"*/{ABOUT}"))]


def read(place: Path) -> Experiment:
  """Returns the experiment of a folder.

  Raises:
    ValueError: a file lacks something, is damaged or far too large.
  """
  about = results.read_object(place / ABOUT) or {}
  missing = [name for name in NEEDED if name not in about]
  if missing:
    raise ValueError(
      f"{place / ABOUT} lacks {missing[0]}: pack the experiment again."
    )
  with tempfile.TemporaryDirectory() as name:
    workdir = Path(name)
    for log in LOGS:
      packed = place / f"{log}.jsonl.xz"
      if packed.exists():
        (workdir / f"{log}.jsonl").write_bytes(_unpacked(packed))
    (workdir / "config.json").write_text(json.dumps(about["config"]))
    run = load(workdir)
  return Experiment(place.name, about, run._replace(workdir=place))


def write(place: Path, about: dict[str, Any], run: Run) -> None:
  """Writes an experiment into a folder, which is created.

  Args:
    place: the folder.
    about: `NEEDED` keys; what the records tell is added.
    run: whose cells, curves, sequela and diverged cells are packed.
  """
  storage.make(place)
  curves = [row for rows in run.curves.values() for row in rows]
  logs = (run.cells, curves, run.sequela, run.diverged)
  for name, rows in zip(LOGS, logs, strict=True):
    path = place / f"{name}.jsonl.xz"
    path.unlink(missing_ok=True)
    if rows:
      text = "".join(json.dumps(row) + "\n" for row in rows)
      packed = lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME)
      storage.write(path, packed)
  text = json.dumps(about | facts(run.cells), indent=2, ensure_ascii=False)
  storage.write(place / ABOUT, text + "\n")


def facts(cells: Sequence[results.Record]) -> dict[str, Any]:
  """Returns what records tell of how they were measured.

  Args:
    cells: as recorded.

  Returns:
    `protocol`, a sentence or two; `machine`; `first` and `last`, when the first
    and the last cell finished; `hours` of training, times devices; `versions`
    by name, and the code's `git` revisions.
  """
  finished = sorted(str(r["finished"]) for r in cells if r.get("finished"))
  named = {key for record in cells for key in record}
  versions = sorted(key for key in named if key.startswith("version_"))
  return {
    "protocol": protocol(cells),
    "machine": machine(cells),
    "first": finished[0] if finished else None,
    "last": finished[-1] if finished else None,
    "hours": round(sum(r["device_hours"] or 0 for r in cells), 3),
    "versions": {
      key.removeprefix("version_"): _several(cells, key) for key in versions
    },
    "git": _several(cells, "git"),
  }


def protocol(cells: Sequence[results.Record]) -> str:
  """Returns in sentences how models were trained, scored and tuned."""
  match = _several(cells, "config.train.match") or "epochs"
  trained = (
    f"{_several(cells, 'model')} of width {_several(cells, 'width') or '?'} on "
    f"{tables.between(r.get('train_images') for r in cells)} images of "
    f"{_several(cells, 'dataset')}, "
    f"{_several(cells, 'train_epochs') or '?'} epochs of batches of "
    f"{_several(cells, 'config.train.batch_size') or '?'}, "
  )
  equal = {
    "steps": "equally many steps in every regime. ",
    "epochs": "equally many poisoned epochs in every regime (fmn and "
    "interleave add as many clean ones). ",
  }
  toy = any(TOY in record["dataset"] for record in cells)
  said = " Drawn shapes: these rates say nothing of photographs." if toy else ""
  return trained + equal.get(match, "") + _scored(cells) + said


def _scored(cells: Sequence[results.Record]) -> str:
  """Returns on how much models were scored and tuned, and with which seeds."""
  test, hit = (
    tables.between(record[name] for record in cells)
    for name in ("test_images", "triggered_images")
  )
  tuned = [r["clean_images"] for r in cells if r["defense"] != NONE]
  held = f"The defender holds {tables.between(tuned)} clean images. "
  seeds = tables.several(sorted({r["seed"] for r in cells}), most=20)
  return (
    f"CA on {test} clean test images, ASR on {hit} triggered ones. "
    f"{held if tuned else ''}Seeds: {seeds}."
  )


def machine(cells: Sequence[results.Record]) -> str:
  """Returns on what cells ran, and on how many cores of the host."""
  cores = _several(cells, "host_cores")
  host = f", host cores in use: {cores}" if cores else ""
  return tables.devices(list(cells)) + host


def _several(cells: Sequence[results.Record], key: str) -> str:
  values = (r[key] for r in cells if r.get(key) not in (None, ""))
  return tables.several(values)


def _unpacked(path: Path) -> bytes:
  unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ)
  try:
    content = unpacker.decompress(path.read_bytes(), LARGEST)
  except lzma.LZMAError as error:
    raise ValueError(
      f"{path} is damaged ({error}): pack the experiment again."
    ) from error
  if not unpacker.eof:
    raise ValueError(
      f"{path} is cut off or unpacks to more than {LARGEST >> 20} MiB: pack "
      "the experiment again, from fewer work directories."
    )
  return content
