"""What records must be before they are shown beside others.

Each check refuses with one sentence. They find mistakes, mixed files and
edited numbers; nobody who invents whole records with care is found out.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bdjax.archive.commands import Cells, Command, parse
from bdjax.cli.keys import PLACES
from bdjax.report import results
from bdjax.report.judging import NONE
from bdjax.report.load import Run
from bdjax.report.results import Record
from bdjax.runs import plans

SHARES = (
  *(*results.METRICS, *results.BEFORE),
  *("clean_ca", "clean_asr", "clean_ta", "clean_collapse", "ta", "collapse"),
  *("precision", "recall", "auroc", "tpr_at_1", "tpr_at_5", "tpr_at_10"),
)
COUNTED = {  # shares of these many test images
  **dict.fromkeys(("ca", "asr_incl"), "test_images"),
  **dict.fromkeys(("asr", "ra"), "triggered_images"),
}
FLOORS = {"clean_ca": "test_images", "clean_asr": "triggered_images"}
FLOOR = "evaluate.floor"  # is measured besides: it changes no cell's rates
WHOLE = 1e-3  # how far a count may be from a whole number, and shares from 1
ROUNDED = 1e-5  # DER is computed in float32
OWN = ("seconds_train", "seconds_eval", "ca", "asr", "ra", "asr_incl")


def check(
  run: Run, texts: Sequence[str], *, other_code: bool
) -> dict[str, Any]:
  """Checks the records of a work directory.

  Args:
    run: read, hence of the right form and finite in all that is shown.
    texts: the commands that made it.
    other_code: whether another version of the code read the config and named
      the cells, so that names cannot be computed.

  Returns:
    The config: the first command's or, where other code may have read that in
    another way, as it was recorded.

  Raises:
    ValueError: one sentence on the first thing that is wrong.
  """
  if not texts:
    raise ValueError(
      f"{run.workdir}: nothing says how it was measured; give every command "
      "that was run, as --command='uv run python -m bdjax.launch ...'."
    )
  commands = [parse(text) for text in texts]
  _check_one_protocol(commands)
  whose = "another record's" if other_code else "the command's"
  config = recorded(run.cells[0]) if other_code else commands[0].config
  for record in run.cells:
    for test in (_finite, _in_range, _counts, _effectiveness):
      _refuse(run, record, test(record))
    _refuse(run, record, _config(record, identity(config), whose))
  results.summarize(run.cells)  # refuses two of one seed
  _check_distinct(run)
  _check_before(run)
  if not other_code:
    _check_names(run, [Cells(command) for command in commands])
  return config


def recorded(record: Record) -> dict[str, Any]:
  """Returns the config that a record holds, as nested dicts.

  Args:
    record: its lists are texts.
  """
  nested: dict[str, Any] = {}
  for key, value in record.items():
    if key.startswith("config."):
      *path, name = key.split(".")[1:]
      place = nested
      for part in path:
        place = place.setdefault(part, {})
      place[name] = value
  return nested


def _refuse(run: Run, record: Record, wrong: str) -> None:
  if wrong:
    raise ValueError(f"{run.workdir}, cell {record['cell']}: {wrong}.")


def identity(config: dict[str, Any]) -> dict[str, Any]:
  """Returns what all cells of a protocol share, by dotted key.

  Args:
    config: as nested dicts.
  """
  return {
    key: value
    for key, value in plans.identity(config).items()
    if key not in (*PLACES, FLOOR)
  }


def _check_one_protocol(commands: Sequence[Command]) -> None:
  first, *rest = commands
  one = identity(first.config)
  for command in rest:
    other = identity(command.config)
    changed = [k for k in sorted(one | other) if one.get(k) != other.get(k)]
    if changed:
      key = changed[0]
      raise ValueError(
        f"two commands differ in {key}, {one.get(key)!r} and "
        f"{other.get(key)!r}, so they are two protocols: pack them as two "
        "experiments."
      )


def _finite(record: Record) -> str:
  """Returns what is no finite number, in any key and however deep."""
  for key, value in record.items():
    for number in _numbers(value):
      if not math.isfinite(number):
        return f"its {key} is {number}, which is no number"
  return ""


def _numbers(value: Any) -> Iterator[float]:
  if isinstance(value, float):
    yield value
  elif isinstance(value, dict | list):
    parts = value.values() if isinstance(value, dict) else value
    for part in parts:
      yield from _numbers(part)


def _in_range(record: Record) -> str:
  for key in SHARES:
    value = record.get(key)
    if value is not None and not 0 <= value <= 1:
      return f"its {key} is {value}, but must lie between 0 and 1"
  for key in results.COSTS:
    if (record[key] or 0) < 0:
      return f"its {key} is {record[key]}, which is negative"
  if not 0 < record["triggered_images"] <= record["test_images"]:
    return (
      f"it has {record['triggered_images']} triggered images of "
      f"{record['test_images']}, but must have some, and not more"
    )
  if record["defense"] != NONE and not record["clean_images"]:
    return "its defender holds no clean image"
  return ""


def _counts(record: Record) -> str:
  for key, images in (COUNTED | FLOORS).items():
    share = record.get(key)
    if share is None:
      if key in FLOORS:
        continue
      return f"its {key} is missing"
    count = share * record[images]
    if abs(count - round(count)) > WHOLE:
      return (
        f"its {key} is {share}, which no number of correct answers among "
        f"{record[images]} images gives"
      )
  if record["asr"] + record["ra"] > 1 + WHOLE:
    return "its asr and ra are together above 1, but no answer counts twice"
  return ""


def _effectiveness(record: Record) -> str:
  """Returns whether DER is not what the shares beside it give."""
  known = [record[key] for key in ("ca_before", "asr_before", "der")]
  if None in known:
    return ""
  ca, asr, der = known
  gain, loss = max(0, asr - record["asr"]), max(0, ca - record["ca"])
  if abs((gain - loss + 1) / 2 - der) > ROUNDED:
    return (
      f"its der is {der}, but its rates before and after give "
      f"{(gain - loss + 1) / 2:.6f}"
    )
  return ""


def _config(record: Record, wanted: dict[str, Any], whose: str) -> str:
  """Returns where a record's config is another than the one it must be."""
  config = recorded(record)
  if not config:
    return "it does not hold its config, which runs record"
  here = identity(config)
  keys = sorted(here | wanted)
  wrong = [key for key in keys if here.get(key) != wanted.get(key)]
  said = [
    f"its {key} is {here.get(key)!r}, but {whose} is {wanted.get(key)!r}"
    for key in wrong[:1]
  ]
  if wrong[1:]:
    said += ["so are others: " + ", ".join(wrong[1:])]
  return "; ".join(said)


def _check_distinct(run: Run) -> None:
  """Refuses one seed's numbers under two seeds."""
  seen: dict[tuple, Record] = {}
  for record in run.cells:
    key = tuple(record[k] for k in (*results.GROUP, *OWN))
    other = seen.setdefault(key, record)
    if other["seed"] != record["seed"]:
      raise ValueError(
        f"{run.workdir}: seeds {other['seed']} and {record['seed']} of "
        f"{record['attack']}, {record['regime']}, {record['defense']} have "
        "the same rates and the same seconds, so one is a copy of the other."
      )


def _check_before(run: Run) -> None:
  """Refuses a defense that began with other rates than its model's own."""
  models = {r["planted"]: r for r in run.cells if r["defense"] == NONE}
  for record in run.cells:
    model = models.get(record["planted"])
    for key in ("ca", "asr", "ra") if model else ():
      told = record[f"{key}_before"]
      if told is not None and abs(told - model[key]) > ROUNDED:
        raise ValueError(
          f"{run.workdir}, cell {record['cell']}: its {key}_before is {told}, "
          f"but that model's own cell has {model[key]}."
        )


def check_once(records: Sequence[Record], where: str) -> None:
  """Refuses a cell that was recorded twice with different rates.

  Args:
    records: every one that was read.
    where: from.

  Raises:
    ValueError: one sentence on the first such cell.
  """
  seen: dict[str, Record] = {}
  for record in records:
    other = seen.setdefault(record["cell"], record)
    for key in results.METRICS:
      if record[key] != other[key]:
        raise ValueError(
          f"{where}: cell {record['cell']} is recorded twice, with {key} "
          f"{other[key]} and {record[key]}: leave out the one that does not "
          "count."
        )


def missing(run: Run, texts: Sequence[str]) -> int:
  """Returns how many cells of the commands have no record, nor diverged.

  Args:
    run: as checked, of this code.
    texts: the commands.
  """
  there = {record["cell"] for record in (*run.cells, *run.diverged)}
  wanted = (Cells(parse(text)).names(run.cells) for text in texts)
  return len(set().union(*wanted) - there)


def _check_names(run: Run, known: Sequence[Cells]) -> None:
  for record in run.cells:
    wanted = _first(lambda one, r=record: one.expected(r), known)
    if wanted is None:
      raise ValueError(
        f"{run.workdir}: no command makes cell {record['cell']} "
        f"({record['attack']}, {record['regime']}, {record['defense']}, seed "
        f"{record['seed']}), by whose name its settings are known: give the "
        "command that is missing, or --other_code if another version of the "
        "code made it."
      )
    for key, value in wanted.items():
      if record.get(key) != value:
        raise ValueError(
          f"{run.workdir}, cell {record['cell']}: its {key} is "
          f"{record.get(key)!r}, but its name says {value!r}."
        )


def _first(
  ask: Callable[[Cells], dict[str, Any] | None], known: Sequence[Cells]
) -> dict[str, Any] | None:
  return next(filter(None, map(ask, known)), None)
