"""A parser whose refusals are one sentence that says what would do."""

import argparse
import difflib
import math
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}
CONFIG = ("--config.", "--noconfig.", "-config.", "-noconfig.")


class Help(argparse.RawDescriptionHelpFormatter):
  """Help as it is written, at most 88 letters wide; defaults where they tell.

  Descriptions and examples keep their lines.
  """

  def __init__(self, prog: str, **how: Any) -> None:
    """Takes the terminal's width, up to 88."""
    width = min(88, shutil.get_terminal_size().columns) - 2
    super().__init__(prog, max_help_position=26, width=width, **how)


class Parser(argparse.ArgumentParser):
  """Raises a sentence where argparse would print its usage and leave."""

  def __init__(self, *args: Any, **how: Any) -> None:
    """Takes what argparse takes; nothing is abbreviated."""
    super().__init__(*args, allow_abbrev=False, formatter_class=Help, **how)
    self.later: Callable[[], str] | None = None  # what ends the help

  def format_help(self) -> str:
    """Returns the help, with what `later` adds at its end."""
    if self.later is not None:
      self.epilog = self.later()
    return super().format_help()

  def error(self, message: str) -> NoReturn:
    """Raises what is wrong.

    Raises:
      ValueError: always.
    """
    text = message.removeprefix("argument ")
    needed = text.removeprefix("the following arguments are required: ")
    if needed != text:
      text = f"{self.prog.split()[-1]} needs {needed}"
    raise ValueError(f"{text}: see {self.prog} --help.")

  def flags(self) -> list[str]:
    """Returns the long names of its flags."""
    names = (name for a in self._actions for name in a.option_strings)
    return [name for name in names if name.startswith("--")]


def divided(words: Sequence[str]) -> tuple[list[str], list[str]]:
  """Returns words without, and those of, a config's keys.

  A key's value may follow it behind a space, as absl has it.
  """
  rest, keys, words = [], [], list(words)
  while words:
    if words[0].startswith(CONFIG):
      keys += taken(words)
    else:
      rest.append(words.pop(0))
  return rest, keys


def taken(words: list[str]) -> list[str]:
  """Takes a key from the front of words, and its value if that is one too."""
  key = words.pop(0)
  apart = "=" not in key and words and not words[0].startswith("-")
  return [key, words.pop(0)] if apart else [key]


def spelled(words: Iterable[str]) -> list[str]:
  """Returns words whose flags have two hyphens, and underscores in the name.

  `--log-file=x` and `-log_file=x` are both --log_file=x.
  """
  return [_spelled(word) for word in words]


def _spelled(word: str) -> str:
  name, equals, value = word.partition("=")
  bare = name.lstrip("-")
  if not name.startswith("-") or len(bare) < 2 or not bare[0].isalpha():
    return word
  return f"--{bare.replace('-', '_')}{equals}{value}"


def strange(words: Sequence[str], parser: Parser) -> list[str]:
  """Returns the words that are flags, and not of a command.

  Args:
    words: of the command line, after the command.
    parser: the command's.
  """
  known = parser.flags()
  flags = (word for word in words if word.startswith("--") and word != "--")
  return [flag for flag in flags if flag.partition("=")[0] not in known]


def unknown(word: str, command: str, parsers: dict[str, Parser]) -> str:
  """Returns why a word is not taken, and what would be.

  Args:
    word: of the command line, left over.
    command: that it was given to.
    parsers: of all commands.
  """
  if not word.startswith("-"):
    return f"{command} takes no {word!r}: see --help."
  name = word.partition("=")[0]
  owners = [c for c, parser in parsers.items() if name in parser.flags()]
  if owners:
    return (
      f"{name} is a flag of the command {' or '.join(owners)}, not of "
      f"{command}: see --help."
    )
  near = difflib.get_close_matches(name, parsers[command].flags(), n=1)
  if near:
    return f"{command} has no flag {name}: did you mean {near[0]}?"
  return f"{command} has no flag {name}: see --help."


def at_least(
  low: float, kind: type[int] | type[float] = float
) -> Callable[[str], float]:
  """Returns what reads a number from `low` on."""
  words = "a whole number" if kind is int else "a number"

  def read(text: str) -> float:
    try:
      number = kind(text)
    except ValueError:
      number = None
    if number is None or not number >= low:
      raise argparse.ArgumentTypeError(
        f"{text!r} is not {words} of at least {low:g}"
      )
    return number

  return read


def numbers(text: str) -> tuple[float, ...]:
  """Returns one number, or three with commas between them."""
  try:
    return tuple(map(float, text.split(",")))
  except ValueError:
    raise argparse.ArgumentTypeError(
      f"{text!r} is no number, nor three with commas between them, as "
      "0.49,0.48,0.45"
    ) from None


def duration(text: str) -> float:
  """Returns the seconds of a time: 90, 90s, 30m, 1.5h."""
  found = re.fullmatch(r"(\d+\.?\d*|\.\d+)([smh]?)", text.strip())
  seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
  if not 0 < seconds < math.inf:
    raise argparse.ArgumentTypeError(
      f"{text!r} is no time above 0, such as 90s, 30m or 2h"
    )
  return seconds
