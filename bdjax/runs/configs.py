"""Reads a config: a Python program, and the keys that a command line sets."""

import contextlib
import re
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags
from ml_collections import ConfigDict, config_flags

from bdjax.machine import shipped, storage
from bdjax.methods import signature
from bdjax.runs import keys

QUICKSTART = "configs/quickstart.py"
_WRAPPED = "Error whilst parsing config file"  # as ml_collections words it
_NUMBERS = {  # by what Python says of a text that is none
  "invalid literal for int": "a whole number",
  "could not convert string to float": "a number",
}


class Config(NamedTuple):
  """A config as it was asked for.

  Attributes:
    values: as nested dicts.
    overridden: dotted keys that the words set.
    name: of the file, with the argument: `base-attack=lf`.
  """

  values: dict[str, Any]
  overridden: frozenset[str]
  name: str


def read(given: str, words: Sequence[str] = ()) -> Config:
  """Runs a config, and sets keys of it.

  Args:
    given: the file, or the name of one that comes with bdjax; behind a colon
      what `get_config` takes.
    words: such as `--config.train.epochs=5`.

  Raises:
    ValueError: the file is missing or is no config, or a key or value is wrong;
      in a sentence.
  """
  path, argument = locate(given)
  whole = ":".join(filter(None, [str(path), argument]))
  space = flags.FlagValues()
  words = ["", f"--config={whole}", *words]
  config_flags.DEFINE_config_file(
    "config", flag_values=space, lock_config=True, sys_argv=words
  )
  shipped.importable()
  try:
    with _quiet():
      rest = space(words)
  except Exception as error:  # of a key, or of the config, which is a program
    raise ValueError(_lost(error, words) or _sentence(error)) from error
  if rest[1:]:
    raise ValueError(f"{rest[1]!r} is no key of the config and no flag.")
  config = space["config"].value
  if not isinstance(config, ConfigDict):
    raise ValueError(
      f"get_config() of {path} returns no ConfigDict: start from "
      "configs/base.py."
    )
  return Config(
    config.to_dict(),
    frozenset(config_flags.get_override_values(space["config"])),
    "-".join(filter(None, [path.stem, argument])),
  )


def locate(given: str) -> tuple[Path, str]:
  """Returns a config's file and the argument behind it.

  Raises:
    ValueError: there is no such file.
  """
  storage.local(given, "--config")
  name, _, argument = given.partition(":")
  if Path(name).is_file():
    return Path(name), argument
  path = shipped.config(name)
  if path is None:
    raise ValueError(
      f"there is no config file {name}: give the path of one, or the name of "
      f"one that comes with bdjax, such as {QUICKSTART}."
    )
  return path, argument


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Has a config loaded without a word, and without a file beside it."""
  before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
  try:
    with warnings.catch_warnings():
      warnings.simplefilter("ignore", DeprecationWarning)  # ml_collections' own
      yield
  finally:
    sys.dont_write_bytecode = before


def _lost(error: Exception, words: Sequence[str]) -> str:
  """Returns which word sets no key, and what may be meant; or ""."""
  lost = isinstance(error, KeyError | AttributeError) and error.args
  said = str(error.args[0]) if lost else ""
  named = re.search(r'instead of "(\w+)"', said)
  name = named[1] if named else said.strip("'\"")
  for word in words:
    flag = word.partition("=")[0]
    path = flag.removeprefix("--config.").split(".")
    if name and name in path:
      section = ".".join(path[: path.index(name)])
      meant = _meant(section, name, words)
      return f"{flag} sets no key of the config: {meant}"
  return ""


def _meant(section: str, key: str, words: Sequence[str]) -> str:
  if section in keys.METHODS:
    said = " ".join(w for w in words if w.startswith(f"{_flag(section)}="))
    return _owner(section, key, said)
  return signature.nearest(key, keys.SECTIONS.get(section, keys.TOP))


def _flag(section: str) -> str:
  return f"--config.{section}.name"


def _owner(section: str, key: str, said: str) -> str:
  """Returns to which method a key may be given, or what it looks like.

  Args:
    section: of the config.
    key: which it has not.
    said: what the words say of its methods, which then come first.
  """
  schemas = keys.schemas(section)
  owners = [name for name, schema in schemas.items() if key in schema]
  if not owners:
    return signature.nearest(key, set().union(*schemas.values()))
  first = min(owners, key=lambda name: (name not in said, len(name), name))
  return (
    "give it to a method that has it, as in "
    f"{_flag(section)}='{first}({key}=...)'."
  )


def _sentence(error: Exception) -> str:
  """Returns what is wrong with a key, or where a config fails."""
  inner = _raised(error)
  if inner is not error:
    text = " ".join(str(inner).split())
    said = isinstance(inner, ValueError) and text.endswith((".", "?"))
    return text if said else _unreadable(inner, text)
  lost = isinstance(error, KeyError | AttributeError)
  text = " ".join(str(error.args[0] if lost and error.args else error).split())
  key = text.strip("'\"")
  if lost and key.isidentifier():
    return f"unknown config key {key!r}"
  number = re.search(rf"flag (--\S+?)=.*({'|'.join(_NUMBERS)}).*'(.*)'$", text)
  if number:
    kind = _NUMBERS[number[2]]
    return f"{number[1]} is {number[3]!r}, but must be {kind}."
  if isinstance(error, flags.Error | OSError | TypeError | ValueError):
    return text or type(error).__name__
  return _unreadable(error, text)


def _raised(error: BaseException) -> BaseException:
  """Returns what a config raised itself, or the error if it raised nothing."""
  while _WRAPPED in str(error) and error.__context__:
    error = error.__context__
  return error


def _unreadable(error: BaseException, text: str) -> str:
  place = traceback.extract_tb(error.__traceback__)[-1]
  file = place.filename  # of the config, or of the library that reads it
  ours = Path(file).is_file() and "site-packages" not in file
  where = f", from {file}:{place.lineno}" if ours else ""
  return (
    f"the config cannot be read ({type(error).__name__}: {text}{where}): it "
    "must be a Python file whose get_config() returns a ConfigDict, as "
    "configs/base.py."
  )
