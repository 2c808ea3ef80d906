"""One record per cell, appended as a line of JSON; the report's only input.

A line is whole or it is not there: records are written by one `write` on an
O_APPEND descriptor and synced, and a line that a kill has torn is dropped. In a
bucket, which cannot append, a log is a folder of objects; see `logs`.
JSON has no NaN and no infinity: both are stored as null, and a statistic over
a null is null too.
"""

import json
import math
import re
import statistics
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from bdjax.machine import logs, storage
from bdjax.machine.storage import Place
from bdjax.report import intervals, judging, kinds

Record = dict[str, Any]

_TASK = ("dataset", "model", "attack", "regime", "scenario")
GROUP = (*_TASK, "defense")  # what seeds are averaged over
MODEL = (*_TASK, "seed")  # a planted model, whatever was done to it then
METRICS = ("ca", "asr", "asr_incl", "ra", "der")
COSTS = ("seconds_compile", "seconds_train", "seconds_eval", "device_hours")
BEFORE = ("ca_before", "asr_before", "ra_before")
FOUND = (  # by filters, by detectors of inputs, by detectors of models
  *("removed", "precision", "recall", "kept_poisons"),
  *("auroc", "tpr_at_1", "tpr_at_5", "tpr_at_10", "verdict"),
)
ELSEWHERE = (  # in a user's task, and of a clean model there
  *("ta", "collapse", "drop"),
  *("clean_ca", "clean_asr", "clean_ta", "clean_collapse"),
)
COUNTS = ("test_images", "triggered_images", "clean_images")
REQUIRED = (
  *("cell", "planted", *GROUP, "seed"),
  *(*BEFORE, *METRICS, *COSTS, *COUNTS),
  *("device", "devices"),
)
CURVE = ("cell", "stage", "epoch")  # what a row of curves.jsonl must have
SEQUEL = (  # and a record of sequela.jsonl
  *("cell", *GROUP, "seed", "sequel", "kind"),
  *("device", "devices"),
)
DIVERGED = ("cell", *GROUP, "seed")  # and one of diverged.jsonl
PART = ("kind", "about", "settings", "numbers")  # and a file of analysis/
_WORDS = ("cell", "planted", *GROUP, "device", "stage", "sequel", "kind")
_NUMBERS = (*COSTS, *FOUND, *ELSEWHERE)
_WHOLE = (*COUNTS, "seed", "devices", "epoch")
CLEAN_MODEL = "clean model"  # stands for the defense where nothing was planted


def append(
  path: Place,
  records: Iterable[Record],
  *,
  required: tuple[str, ...] = REQUIRED,
) -> None:
  """Appends records, one line each, so that a kill leaves whole lines only.

  Args:
    path: the log, NAME.jsonl; created if missing. One process writes it.
    records: flat dicts of JSON values, NumPy or JAX scalars and arrays.
    required: keys that every record must have.

  Raises:
    ValueError: a record lacks a required key, or holds a value that JSON
      cannot; nothing is written then.
    OSError: the file system took less than everything.
  """
  records = list(records)
  lines = b"".join(_line(record, required) for record in records)
  logs.append(path, lines, key=records[0]["cell"] if records else "none")


def read(path: Place, *, required: tuple[str, ...] = ()) -> list[Record]:
  """Returns the records of a log, without a torn last line; none if no log.

  Args:
    path: the log.
    required: keys that every record must have.

  Raises:
    ValueError: a line, other than a torn last or an empty one, is no record.
  """
  return [
    record
    for part, content in logs.logged(path)
    for record in _records(part, content, required)
  ]


def read_object(path: Place) -> dict[str, Any] | None:
  """Returns the JSON object of a file, None if there is no file.

  Raises:
    ValueError: it holds something else.
  """
  content = storage.read(path)
  try:
    return None if content is None else _object(content)
  except ValueError as error:
    raise ValueError(
      f"{path} is not what a run writes: {error}; mend or delete it."
    ) from error


def latest(records: Iterable[Record], *keys: str) -> list[Record]:
  """Returns the last record for every value of `keys`, in first-seen order."""
  return list({tuple(r[k] for k in keys): r for r in records}.values())


def called(record: Record) -> str:
  """Returns a cell's name in letters that hubs and file systems take."""
  parts = (record[key] for key in ("attack", "regime", "defense"))
  text = "-".join([*parts, f"seed{record['seed']}"])
  return re.sub(r"[^A-Za-z0-9._]+", "-", text).replace("-.", "-").strip("-.")


def summarize(records: Iterable[Record]) -> list[Record]:
  """Summarizes cells over seeds, a row per `GROUP`, in first-seen order.

  `ca_low, ca_high`, and the same of `asr` and `left`, are Student's 95 %
  intervals of the mean over seeds. One seed has none: its test images say
  nothing of other seeds.

  Args:
    records: cells; of several records of one cell the last one counts.

  Returns:
    Rows with the `GROUP` keys, `seeds` (sorted), `test_images` and
    `triggered_images` (summed over seeds), the mean of every metric, cost and
    value before the defense under its own name, its sample standard deviation
    (ddof 1; None with one seed) under `<name>_sd`, the same of what the defense
    `FOUND` and of what was scored `ELSEWHERE` (None where it was not), the
    intervals, `ca_values` and so on in the order of the seeds,
    `asr_before_least`: of the seed in which the attack succeeded least, `ruins`
    and `blanks`: how many seeds' models the defense destroyed and how many were
    no classifiers before it, and `success`: the name of the rate that says what
    is left of the backdoor, which is `left`, and a clean model's `clean_left`.

  Raises:
    ValueError: two different cells of one group have the same seed, or not
      the same settings.
  """
  groups: dict[tuple[str, ...], list[Record]] = {}
  for record in latest(records, "cell"):
    key = tuple(record[name] for name in GROUP)
    groups.setdefault(key, []).append(record)
  return [_row(key, cells) for key, cells in groups.items()]


def _row(key: tuple[str, ...], cells: list[Record]) -> Record:
  _check_seeds(key, cells)
  cells = sorted(cells, key=lambda cell: cell["seed"])
  row: Record = dict(zip(GROUP, key, strict=True))
  row["seeds"] = [cell["seed"] for cell in cells]
  row["classes"] = cells[0].get("classes")
  for name in (*METRICS, *COSTS, *BEFORE):
    row[name], row[f"{name}_sd"] = _mean_sd([cell[name] for cell in cells])
  for name in (*FOUND, *ELSEWHERE):
    row[name], row[f"{name}_sd"] = _mean_sd([c.get(name) for c in cells])
  for count in ("test_images", "triggered_images"):
    row[count] = sum(cell[count] for cell in cells)
  row["success"] = name = judging.success(cells[0])
  for where, what in (("ca", "ca"), ("asr", "asr"), ("left", name)):
    row |= _spread(where, [cell.get(what) for cell in cells])
  for part in ("", "_sd"):
    row[f"left{part}"] = row[f"{name}{part}"]
    row[f"clean_left{part}"] = row[f"clean_{name}{part}"]
  row["ruins"] = sum(map(judging.destroyed, cells))
  row["blanks"] = sum(map(judging.untaught, cells))
  before = [planted(cell) for cell in cells]
  row["asr_before_least"] = None if None in before else min(before)
  return row


def _spread(name: str, values: list[float | None]) -> Record:
  low, high = intervals.student(values, (0.0, 1.0)) or (None, None)
  return {f"{name}_values": values, f"{name}_low": low, f"{name}_high": high}


def planted(cell: Record) -> float | None:
  """Returns the ASR that a cell's model had in its own task, if known."""
  own = cell["asr_before"]
  return cell.get("asr_planted") if own is None else own


def _check_seeds(key: tuple[str, ...], cells: list[Record]) -> None:
  seen: dict[int, str] = {}
  ways = {cell["protocol"]: cell for cell in cells if cell.get("protocol")}
  if len(ways) > 1:
    one, other = list(ways.values())[:2]
    raise ValueError(
      f"Cells {one['cell']!r} and {other['cell']!r} are seeds {one['seed']} "
      f"and {other['seed']} of {' / '.join(key)}, but of different settings; "
      "keep one work directory per protocol."
    )
  for cell in cells:
    if cell["seed"] in seen:
      raise ValueError(
        f"Cells {seen[cell['seed']]!r} and {cell['cell']!r} are both seed "
        f"{cell['seed']} of {' / '.join(key)}, so they come from different "
        "protocols; keep one work directory per protocol."
      )
    seen[cell["seed"]] = cell["cell"]


def _mean_sd(values: list[float | None]) -> tuple[float | None, float | None]:
  if any(value is None for value in values):
    return None, None
  sd = statistics.stdev(values) if len(values) > 1 else None
  return statistics.fmean(values), sd


def _line(record: Record, required: tuple[str, ...]) -> bytes:
  missing = [key for key in required if key not in record]
  if missing:
    raise ValueError(
      f"The record of cell {record.get('cell')!r} lacks {', '.join(missing)}; "
      "give every required key, with None where there is no value."
    )
  return json.dumps(_plain(record), allow_nan=False).encode() + b"\n"


def _plain(value: Any) -> Any:
  if hasattr(value, "tolist"):
    value = value.tolist()
  if isinstance(value, dict):
    return {str(key): _plain(item) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [_plain(item) for item in value]
  if isinstance(value, float):
    return value if math.isfinite(value) else None
  if value is None or isinstance(value, str | int):
    return value
  raise ValueError(
    f"A record cannot hold {value!r} of type {type(value).__name__}; turn it "
    "into numbers, strings, lists or dicts first."
  )


def _records(
  path: Place, content: bytes, required: tuple[str, ...]
) -> list[Record]:
  lines = enumerate(content.split(b"\n")[:-1], start=1)
  return [_parse(path, i, line, required) for i, line in lines if line.strip()]


def _parse(
  path: Place, number: int, line: bytes, required: tuple[str, ...]
) -> Record:
  try:
    record = _object(line)
    _check(record, required)
  except ValueError as error:
    raise ValueError(
      f"{path}, line {number} is not a record: {error}; mend or "
      "delete that line."
    ) from error
  return record


def _object(text: bytes) -> dict[str, Any]:
  try:
    value = json.loads(text, parse_constant=_no_constant)
  except RecursionError:
    raise ValueError("its brackets are too deep") from None
  if not isinstance(value, dict):
    raise ValueError("a JSON object was expected")
  return value


def _check(record: Record, required: tuple[str, ...]) -> None:
  """Raises unless a record has what is required, of the right kind."""
  missing = [key for key in required if key not in record]
  if missing:
    more = f" and {len(missing) - 3} more" if missing[3:] else ""
    raise ValueError(f"it lacks {', '.join(missing[:3])}{more}")
  for key, value in record.items():
    kind, fits = _KINDS.get(key, ("", None))
    nothing = value is None and key not in ("cell", *_WHOLE)
    if fits and not (nothing or fits(value)):
      raise ValueError(f"its {key} is {str(value)[:40]!r}, but must be {kind}")


_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
  **dict.fromkeys(_WORDS, kinds.TEXT),
  **dict.fromkeys((*BEFORE, *METRICS), kinds.RATE),
  **dict.fromkeys(_NUMBERS, kinds.NUMBER),
  "lr": kinds.LIST,
  **dict.fromkeys(_WHOLE, kinds.WHOLE),
}


def _no_constant(name: str) -> NoReturn:
  raise ValueError(f"{name} is not JSON, a missing number is null")
