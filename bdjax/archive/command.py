"""Packs what was measured into docs/results, and writes the pages from it."""

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bdjax.archive import board, checks, claims, experiment, pages
from bdjax.archive.experiment import Experiment
from bdjax.machine import notes, storage
from bdjax.report import results
from bdjax.report.load import Run, load, recorded
from bdjax.report.results import Record
from bdjax.study import comparison

NAME = re.compile(r"[a-z0-9][a-z0-9_]*")
LONGEST = 2000  # letters of a title or a note (chosen)
TEXTS = ("title", "by", "note")
BOARD = "leaderboard_table.html"


def run(
  words: Sequence[str], *, docs: Path | None = None, **given: Any
) -> list[str]:
  """Packs an experiment, if one is named, and writes all pages.

  Args:
    words: the experiment's name and its work directories, or files of records;
      none writes the pages alone.
    docs: where the pages go, and the folder `results` lies; None is this
      clone's. The leaderboard goes into `site` beside it.
    **given: title, by, note, command, other_code, busy; see `pack`.

  Returns:
    What was written, in words.

  Raises:
    ValueError: records cannot be shown beside others, and why.
  """
  lines, docs = [], docs or experiment.folder().parent
  if words:
    name, *paths = words
    lines.append(pack(docs / "results", name, paths, **given))
  elif any(given.values()):
    raise ValueError(
      "results takes --title and its like only with an experiment: results "
      "NAME DIR ..."
    )
  experiments = experiment.read_all(docs / "results")
  for name, text in written(experiments).items():
    lines.append(f"page: {storage.write(docs / name, text)}")
  storage.make(docs.parent / "site")
  path = storage.write(docs.parent / "site" / BOARD, board.render(experiments))
  return [*lines, f"leaderboard: {path}"]


def written(experiments: Sequence[Experiment]) -> dict[str, str]:
  """Returns the pages of docs that experiments are written into, by name."""
  return {
    "results.md": pages.render(experiments),
    "claims.md": claims.render(experiments),
  }


def pack(
  place: Path,
  name: str,
  paths: Sequence[str],
  *,
  title: str | None = None,
  by: str | None = None,
  note: str | None = None,
  command: Sequence[str] = (),
  other_code: bool = False,
  busy: bool = False,
) -> str:
  """Checks records and packs them as an experiment.

  Args:
    place: where experiments lie.
    name: of its folder, which is replaced if nothing is lost by that.
    paths: work directories of one protocol, or files of records.
    title: of the experiment; None keeps what is there.
    by: who measured it; likewise.
    note: what else must be known; likewise.
    command: every command that was run; none keeps what is there and takes
      what the folders know.
    other_code: see `checks.check`.
    busy: whether other work shared the machine, so that seconds are no cost;
      once said, it stays.

  Returns:
    What was written, in words.

  Raises:
    ValueError: it cannot be packed, and why.
  """
  if not NAME.fullmatch(name) or not paths:
    raise ValueError(
      f"results takes a name of small letters, digits and _, and folders of "
      f"runs: results blended_resnet9 runs/mine, say, not {name!r}."
    )
  old = _there(place / name)
  about = {
    "title": title or old.get("title"),
    "by": by or old.get("by", ""),
    "note": note if note is not None else old.get("note", ""),
    "commands": list(command),
    "other_code": other_code,
    "busy": busy or old.get("busy", False),
  }
  _check_texts(about)
  _check_title(place, name, about["title"])
  merged = comparison.merged([_loaded(path) for path in paths])
  known = dict.fromkeys([*old.get("commands", []), *merged.commands])
  about["commands"] = about["commands"] or list(known)
  checks.check_once([r for path in paths for r in _every(path)], name)
  config = checks.check(merged, about["commands"], other_code=other_code)
  absent = 0 if other_code else checks.missing(merged, about["commands"])
  _check_kept(place / name, merged)
  _check_new(place, name, merged)
  about |= {"config": config, "missing": absent}
  experiment.write(place / name, about, merged)
  few = f"; {absent} more of its commands have no record" if absent else ""
  return f"packed: {len(merged.cells)} cells into {place / name}{few}"


def _there(place: Path) -> dict[str, Any]:
  there = (place / experiment.ABOUT).exists()
  return experiment.read(place).about if there else {}


def _check_texts(about: dict[str, Any]) -> None:
  if not about["title"]:
    raise ValueError("the experiment has no title: give --title='...'.")
  for key in TEXTS:
    if (
      len(about[key]) > LONGEST
      or not about[key].replace("\n", "").isprintable()
    ):
      raise ValueError(
        f"--{key} must be printable text of at most {LONGEST} letters."
      )


def _check_title(place: Path, name: str, title: str) -> None:
  for other in place.glob(f"*/{experiment.ABOUT}"):
    if other.parent.name != name:
      if experiment.read(other.parent).about["title"] == title:
        raise ValueError(
          f"--title is {title!r}, which {other.parent} has: give another."
        )


def _loaded(text: str) -> Run:
  """Reads a work directory, or a file of records as if one held it alone."""
  path = storage.place(text)
  if not (isinstance(path, Path) and path.is_file()):
    return load(path)
  if path.stat().st_size > experiment.LARGEST:
    raise ValueError(f"{path} is too large to be a file of records.")
  with tempfile.TemporaryDirectory() as name:
    (Path(name) / "results.jsonl").write_bytes(path.read_bytes())
    try:
      return load(name)._replace(workdir=path)
    except ValueError as error:
      reason = str(error).replace(f"{name}/results.jsonl", str(path))
      raise ValueError(reason.replace(name, str(path))) from None


def _every(text: str) -> list[Record]:
  """Returns every record of a work directory, or a file of records."""
  path = storage.place(text)
  if isinstance(path, Path) and path.is_file():
    return results.read(path, required=results.REQUIRED)
  return recorded(path)


def _check_new(place: Path, name: str, run: Run) -> None:
  """Refuses cells that another experiment has: they would count twice."""
  cells = {record["cell"] for record in run.cells}
  for other in place.glob(f"*/{experiment.ABOUT}"):
    if other.parent.name != name:
      known = {
        record["cell"] for record in experiment.read(other.parent).run.cells
      }
      if twice := cells & known:
        raise ValueError(
          f"{other.parent} has {len(twice)} of these cells: leave them out, or "
          "pack all of it under that name."
        )


def _check_kept(place: Path, run: Run) -> None:
  """Refuses to lose cells that an experiment of this name has."""
  if not (place / experiment.ABOUT).exists():
    return
  had = {record["cell"] for record in experiment.read(place).run.cells}
  lost = had - {record["cell"] for record in run.cells}
  if lost:
    raise ValueError(
      f"{place} holds {len(lost)} cells that are not in what was given: name "
      "all of its work directories, or take another name."
    )
  notes.say(f"{place} is replaced.")
