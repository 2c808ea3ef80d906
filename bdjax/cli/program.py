"""From the words of a command line to a command and its commands."""

import argparse
import shlex
from collections.abc import Sequence

import bdjax
from bdjax.cli import commands, keys
from bdjax.cli import parser as parsers
from bdjax.cli.parser import Parser

DEFAULT = "run"
_PLACES = tuple(f"--config.{key}" for key in keys.PLACES)
_TEXT = f"""Plants backdoors, fine-tunes them away, and reports what is left.

  {commands.PROGRAM} --config configs/quickstart.py
  {commands.PROGRAM} --config configs/base.py --workdir runs/mine \\
      --config.data.name=cifar10 --config.attack.name=badnets,blended \\
      --config.defense.name='ft(lr=0.05),super_ft.fmn' --config.seeds='(0,1,2)'

COMMAND --help explains a command and all that it takes; without one, `run`."""


def parse(words: Sequence[str], prog: str) -> argparse.Namespace:
  """Returns a command's arguments; what it `does`, and the config's `keys`.

  Args:
    words: of the command line, without the program's.
    prog: what the program is called.

  Raises:
    ValueError: they are wrong, in a sentence.
    SystemExit: they ask for help or the version, which is printed.
  """
  words, settings = parsers.divided(words)
  words = parsers.spelled(words)
  whole, each = build(prog)
  top = ("-h", "--help", "--version")
  if not words or words[0].startswith("-") and words[0] not in top:
    words.insert(0, DEFAULT)
  if words[0] not in (*each, *top):
    from bdjax.methods import signature  # which takes a second

    near = signature.nearest(words[0], each)
    raise ValueError(f"unknown command {words[0]!r}: {near}")
  own = each.get(words[0])
  mistyped = own and parsers.strange(words[1:], own)
  if mistyped:  # or else what they were meant to be would be called missing
    raise ValueError(parsers.unknown(mistyped[0], words[0], each))
  given, rest = whole.parse_known_args(words)
  if rest:
    raise ValueError(parsers.unknown(rest[0], given.does, each))
  if settings and not hasattr(given, "config"):
    raise ValueError(f"{given.does} takes no config, so no {settings[0]}.")
  given.keys = settings
  return given


def again(config: str, settings: Sequence[str]) -> str:
  """Returns a command that runs the same config, without this machine's places.

  They decide nothing, and are nobody else's business.

  Args:
    config: file, or name.
    settings: words that set its keys.
  """
  kept, words = [], list(settings)
  while words:
    setting = parsers.taken(words)
    if setting[0].partition("=")[0] not in _PLACES:
      kept += setting
  words = (*commands.PROGRAM.split(), "--config", config, *kept)
  return shlex.join(words)


def build(prog: str) -> tuple[Parser, dict[str, Parser]]:
  """Returns the program's parser and those of its commands, by name."""
  whole = Parser(
    prog=prog,
    description=_told(_TEXT, prog),
    epilog=commands.STATUSES,
  )
  whole.add_argument(
    "--version", action="version", version=f"bdjax {bdjax.__version__}"
  )
  places = whole.add_subparsers(
    title="commands", dest="does", metavar="COMMAND", prog=prog
  )
  each = {}
  for name, command in commands.COMMANDS.items():
    parser = places.add_parser(
      name, help=command.summary, description=_told(command.text, prog)
    )
    command.add(parser)
    if "--config" in parser.flags():
      parser.later = keys.text
    _say(parser)
    each[name] = parser
  return whole, each


def _say(parser: Parser) -> None:
  group = parser.add_argument_group("what is said")
  group.add_argument("--quiet", action="store_true", help="print errors alone")
  group.add_argument(
    "--log_file",
    metavar="FILE",
    help="where progress, notes and errors go as well, each with its time",
  )


def _told(text: str, prog: str) -> str:
  return text.replace(commands.PROGRAM, prog)
