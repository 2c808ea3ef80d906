"""What a command would have run: its config, and the names of its cells.

Cells are named by digests of all that decides them, so a record whose command
is known can be held against it. Images are not needed for that, since records
have the fingerprints of theirs.
"""

import shlex
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from bdjax import data
from bdjax.cli import program
from bdjax.report.results import Record
from bdjax.runs import configs, keys, methods, plans, settings
from bdjax.runs.cells import Cell, Names
from bdjax.runs.task_data import TaskData
from bdjax.types import Dataset

PROGRAMS = ("bdjax.launch", "bdjax")


class Command(NamedTuple):
  """A command that was run.

  Attributes:
    text: as it was written.
    config: what it stands for, as nested dicts.
    overridden: keys that it sets.
  """

  text: str
  config: dict[str, Any]
  overridden: frozenset[str]


def parse(text: str) -> Command:
  """Returns what a command says.

  Args:
    text: such as `uv run python -m bdjax.launch --config FILE ...`; flags that
      are not of the config decide nothing and are not looked at.

  Raises:
    ValueError: it is none that runs a config.
  """
  try:
    words = shlex.split(text.replace("\\\n", " "))
    name = next(w for w in words if w in PROGRAMS)
    given = program.parse(words[words.index(name) + 1 :], name)
    if given.does != "run" or not given.config:
      raise ValueError("no config is run")
    config = configs.read(given.config, given.keys)
    values = plans.completed(config.values)
    keys.check(values)
  except (ValueError, StopIteration) as why:
    reason = str(why) or f"it has none of {', '.join(PROGRAMS)}"
    raise ValueError(
      f"the command {text!r} is none that runs a config ({reason}): give it as "
      "it was run, from the top of a clone."
    ) from None
  return Command(text, values, config.overridden)


class Cells:
  """The cells of a command, by the names that records give them."""

  def __init__(self, command: Command) -> None:
    """Builds the command's methods.

    Args:
      command: parsed.

    Raises:
      ValueError: it could not be run with this code.
    """
    config = command.config
    scenario = methods.scenario(config["scenario"])
    source = _pictureless(config["data"])
    user = source
    if scenario.built.elsewhere:
      user = _pictureless(config["downstream"])
    self._plan = settings.built(
      config, command.overridden, scenario, source, user
    )
    self._known: dict[tuple, dict[str, dict[str, Any]]] = {}

  def expected(self, record: Record) -> dict[str, Any] | None:
    """Returns what must be said of a record's cell; None if it is not here.

    In an encoder's scenario and in a transfer the name hangs on the user's test
    images, whose fingerprint older records lack.
    """
    return self._cells(record).get(record["cell"])

  def names(self, records: Sequence[Record]) -> set[str]:
    """Returns the names of all cells, on the images that records are of.

    A seed may have a subset of images of its own, which a record of it tells;
    a seed without one is named as if it had another's.
    """
    of = {record["seed"]: record for record in records}
    seeds = {about["seed"] for about in self._cells(records[0]).values()}
    return {
      name
      for seed in seeds
      for name, about in self._cells(of.get(seed, records[0])).items()
      if about["seed"] == seed
    }

  def _cells(self, record: Record) -> dict[str, dict[str, Any]]:
    prints = tuple(map(record.get, _PRINTS))
    if prints not in self._known:
      self._known[prints] = dict(self._named(prints))
    return self._known[prints]

  def _named(self, prints: tuple) -> Iterator[tuple[str, dict[str, Any]]]:
    plan = self._plan
    names = Names(plan)
    train, test, user, scored = prints
    user_test = scored if plan.elsewhere else test
    names.fingerprints = {"source": [train, test], "user": [user, user_test]}
    for cell in names.cells():
      yield names.id(cell), self._about(names, cell)

  def _about(self, names: Names, cell: Cell) -> dict[str, Any]:
    plan = self._plan
    joined = plan.info.name
    if plan.elsewhere:
      joined = f"{joined} -> {plan.user.info.name}"
    return {
      "planted": names.planted(cell),
      "attack": cell.attack.label,
      "regime": cell.regime.label,
      "defense": cell.defense.label if cell.defense else "none",
      "seed": cell.seed,
      "dataset": joined,
      "model": plan.model.label,
      "scenario": plan.scenario.label,
      "classes": plan.user.info.num_classes,
      "train_epochs": plan.recipe.epochs,
      "width": plan.model.args.get("width"),
    }


_PRINTS = (
  *("fingerprint_train", "fingerprint_test"),
  *("fingerprint_user", "fingerprint_user_test"),
)


def _pictureless(section: dict[str, Any]) -> TaskData:
  """Returns what names need of a dataset, with one black image in it."""
  info = data.info(section["name"], data_dir=section.get("dir"))
  given = {k: section[k] for k in ("crop", "flip") if section[k] is not None}
  image = np.zeros((1, *info.shape), np.uint8)
  black = Dataset(image, np.zeros(1, np.int32))
  return TaskData(info._replace(**given), black, black)
