"""Writes what the site says of each method, from the code that is run.

A line `<!-- generated: KIND -->` in a page becomes a table of that kind and a
section for each method: its module's docstring, its arguments with defaults
and ranges as its signature has them, and its presets. So nothing can go stale.
"""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import rooms

from bdjax import data
from bdjax.archive import board, command, experiment
from bdjax.methods import registry, signature
from bdjax.runs import methods
from bdjax.study import verdict
from bdjax.training import regimes

PLACE = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)
PAPER = re.compile(r"\b\d{4}\.\d{4,5}\b")
ITEM = re.compile(r"- |\d+\. ")
LINK = r"[\g<0>](https://arxiv.org/abs/\g<0>)"
FENCE = "```"


def fill(text: str) -> str:
  """Returns a page with everything written that is to be generated.

  Raises:
    ValueError: a kind to be generated is unknown.
  """

  def written(found):
    if found[1] not in KINDS:
      raise ValueError(
        f"a page asks for {found[1]!r}: {signature.nearest(found[1], KINDS)}"
      )
    return KINDS[found[1]]()

  return PLACE.sub(written, text)


def write_board(site: Path) -> None:
  """Writes the leaderboard into the folder of the site."""
  found = experiment.read_all(experiment.folder())
  (site / command.BOARD).write_text(board.render(found), encoding="utf-8")


def prose(text: str) -> str:
  """Returns a docstring's text as Markdown.

  Indented lines outside of lists are formulas and become code; a list ends at
  the next line that is not indented; arXiv ids become links.
  """
  lines, inside = [], ""
  for line in text.split("\n"):
    before, inside = inside, _kind(line, inside)
    if before == "code" and inside != "code":
      lines.append(FENCE)
    if before == "list" and inside == "":
      lines.append("")
    if inside == "code" and before != "code":
      lines += ["", FENCE + "text"]
    lines.append(line[2:] if inside == "code" else _linked(line))
  return "\n".join([*lines, FENCE] if inside == "code" else lines)


def arguments(make: Callable) -> str:
  """Returns a table of what a user may give, or "" if that is nothing."""
  said, rows = signature.meanings(make), []
  for name, argument in signature.arguments(make).items():
    if name not in methods.GIVEN:
      may = f"{argument}{'; may be swept' if argument.sweepable else ''}"
      rows.append((f"`{name}`", f"`{argument.default!r}`", may, said.get(name)))
  titles = ("argument", "default", "may be", "meaning")[: 4 if said else 3]
  return _table(titles, rows) if rows else ""


def _kind(line: str, before: str) -> str:
  if not line.strip():
    return before
  if ITEM.match(line):
    return "list"
  if line.startswith("  "):
    return "list" if before == "list" else "code"
  return ""


def _linked(text: str) -> str:
  """Links papers and keeps <words> from being taken for HTML, but in code."""
  parts = text.split("`")
  for i in range(0, len(parts), 2):
    parts[i] = PAPER.sub(LINK, parts[i].replace("<", "&lt;"))
  return "`".join(parts)


def _table(titles: tuple[str, ...], rows: list[tuple]) -> str:
  def line(cells):
    cells = [(cell or "").replace("|", r"\|") for cell in cells]
    return f"| {' | '.join(cells[: len(titles)])} |"

  return "\n".join(map(line, (titles, ("---",) * len(titles), *rows)))


def _overview(kind: str) -> str:
  rows = []
  for name, line in registry.describe(kind).items():
    paper = PAPER.search(registry.module(kind, name).__doc__)
    paper = _linked(paper[0]) if paper else "no arXiv id"
    rows.append((f"[`{name}`](#{name})", line, paper))
  return _table((kind.removesuffix("s"), "what it is", "paper"), rows)


def _section(kind: str, name: str, level: int) -> str:
  module = registry.module(kind, name)
  head = inspect.getdoc(module).partition("\n")[0]
  parts = [f"{'#' * level} {name}", f"**{head}**", _body(module)]
  parts.append(arguments(module.make))
  presets = registry.presets(kind, name).items()
  parts.append("Presets:" if presets else "")
  parts += [_preset(f"{name}.{key}", args) for key, args in presets]
  return "\n\n".join(filter(None, parts))


def _preset(name: str, args: dict) -> str:
  given = ", ".join(f"{k}={v!r}" for k, v in args.items())
  return f"- `{name}`: {f'`{given}`' if given else 'the defaults'}"


def _methods(kind: str, level: int = 2) -> str:
  sections = [_section(kind, name, level) for name in registry.names(kind)]
  return "\n\n".join([_overview(kind), *sections])


def _body(module: ModuleType) -> str:
  return prose(inspect.getdoc(module).partition("\n")[2].strip())


def _regimes() -> str:
  parts = [inspect.getdoc(regimes).partition("\n")[0], _body(regimes)]
  for name, make in regimes.REGIMES.items():
    head = inspect.getdoc(make).partition("\n")[0]
    parts += [f"### {name}", f"**{head}**", arguments(make)]
  return "\n\n".join(filter(None, parts))


def _models() -> str:
  rows = [(f"`{k}`", v) for k, v in registry.describe("models").items()]
  return _table(("model", "what it is"), rows)


def _datasets() -> str:
  rows = [(f"`{name}`", _linked(line)) for name, line in data.names().items()]
  return _table(("dataset", "what it is"), rows)


KINDS = {
  "attacks": lambda: _methods("attacks"),
  "defenses": lambda: _methods("defenses"),
  "scenarios": lambda: _methods("scenarios", 3),
  "sequela": lambda: _methods("sequela", 3),
  "regimes": _regimes,
  "models": _models,
  "datasets": _datasets,
  "verdicts": lambda: _body(verdict),
  "rooms": rooms.picture,
}
