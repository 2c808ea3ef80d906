"""A whole experiment in a call: plant, defend, score."""

import os
import tempfile
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from bdjax.api import arrays
from bdjax.api.outcome import Outcome, load
from bdjax.cli import program
from bdjax.machine import backend, mesh, notes, programs, storage
from bdjax.runs import configs, failed, settings, task_data, whole

_SECTIONS = ("attack", "regime", "defense", "model", "sequela")


def experiment(
  data: str | dict[str, Any] = "synthetic",
  *,
  attack: str = "badnets",
  defense: str = "ft,super_ft",
  regime: str = "conventional",
  model: str = "preact_resnet18",
  sequela: str = "",
  seeds: int | Sequence[int] = 0,
  keys: dict[str, Any] | None = None,
  workdir: str | os.PathLike[str] | None = None,
  quiet: bool = False,
  log_to: Sequence[str] = (),
) -> Outcome:
  """Plants backdoors, runs defenses on each, and scores what is left.

  The same call on the same `workdir` continues what was stopped, or reads what
  is done; more attacks, regimes, defenses or seeds may be added to it::

      outcome = bdjax.experiment(
        attack="badnets,blended", defense="ft,super_ft", seeds=(0, 1, 2)
      )
      print(outcome)

  Args:
    data: a dataset's name; or your own arrays, as `api.arrays.task` takes
      them: {"train": (images, labels), "test": (images, labels)}, and perhaps
      class_names, flip and crop.
    attack: one or more, written name, name.preset or name(argument=value), with
      commas between them.
    defense: likewise; the undefended model is always scored.
    regime: likewise: conventional, fmn, ...
    model: one, such as resnet9(width=8).
    sequela: what defenses leave behind: membership,reinjection,retuning,
      reactivation,qra.
    seeds: of all that is random.
    keys: other keys of a config, such as {"train.epochs": 20}.
    workdir: where everything is kept; None makes a folder that the system may
      clear.
    quiet: whether no progress is shown.
    log_to: some of tensorboard, wandb and mlflow, which are told of each cell
      that is finished.

  Raises:
    ValueError: something cannot be done; says what, and what to do.
    RuntimeError: every cell failed; says why. If only some do, a note says so.
  """
  given: dict[str, Any] = {"seeds": seeds}
  if not isinstance(seeds, int):
    given["seeds"] = tuple(seeds)
  names = (attack, regime, defense, model, sequela)
  given |= {f"{k}.name": v for k, v in zip(_SECTIONS, names, strict=True)}
  backend.require()
  own = None
  if isinstance(data, str):
    given["data.name"] = data
  else:
    own = arrays.given(data, named=True)
    given["data.name"] = task_data.OWN
  given |= keys or {}
  config = _config(given)
  command = _command(config, given) if own is None else ""
  plan = settings.plan(config, frozenset(given), own)
  path = storage.place(os.fspath(workdir or tempfile.mkdtemp(prefix="bdjax-")))
  programs.keep()
  path, failures = whole.finish(
    plan,
    path,
    Console(quiet=quiet),
    mesh=mesh.all_devices(),
    log_to=log_to,
    command=command,
  )
  sentences = failed.told(failures)
  for sentence in sentences:
    notes.say(sentence)
  if path is None:
    raise RuntimeError("; ".join(sentences))
  return load(path)


def _command(config: dict[str, Any], given: dict[str, Any]) -> str:
  """Returns what runs a config from a shell, or "" if no words say it.

  Args:
    config: with the keys set.
    given: the keys.
  """
  words = [f"--config.{k}={v}" for k, v in given.items() if v is not None]
  try:
    same = configs.read("base", words).values == config
  except ValueError:
    return ""
  return program.again("base", words) if same else ""


def _config(given: dict[str, Any]) -> dict[str, Any]:
  """Returns configs/base.py with keys set.

  Raises:
    ValueError: a key is unknown.
  """
  config = configs.read("base").values
  for key, value in given.items():
    section, _, name = key.rpartition(".")
    place = config.get(section) if section else config
    if not isinstance(place, dict) or not name:
      raise ValueError(f"unknown config key {key!r}: see configs/base.py.")
    place[name] = value
  return config
