"""A config's keys: what each may be by itself, and what must be there.

What `attack`, `regime`, `model`, `defense` and `sequela` hold beside what is
listed here are arguments of the methods named there, which check them. A config
may say more of `regime` and `sequela` than the methods named there take, but
nothing that none of their kind takes.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

from bdjax.machine import backend
from bdjax.methods import registry, signature, values
from bdjax.methods.signature import Argument, Choice, Count, Index, Range, Some
from bdjax.runs import plans, task_data
from bdjax.training import budget, regimes
from bdjax.types import Recipe

_Names = str | tuple | list  # of methods
_Folder = str | Path | None
_Pixels = Annotated[int | None, Range(0, closed=True)]
_SEED = Range(0, 2**32 - 1, closed=True)  # what `jax.random.key` tells apart
_RECIPE = signature.TRAINING.having(epochs=Count).fields
_DATA = {
  "name": str,
  "train_images": Some,
  "test_images": Some,
  "crop": _Pixels,
  "flip": bool | None,
}
SECTIONS = {
  "data": _DATA
  | {
    "draw": Annotated[str, Choice(task_data.DRAWS)],
    "dir": _Folder,
    "cache": _Folder,
  },
  "downstream": _DATA | {"name": str | None},
  "train": {f.name: _RECIPE[f.name] for f in dataclasses.fields(Recipe)}
  | {"match": Annotated[str, Choice(budget.MATCHES)]},
  "sweep": {"axes": str | None, "width": Some},
  "evaluate": {
    "batch_size": Count,
    "curve_images": Index,
    "curve_every": Count,
    "floor": bool,
  },
}
METHODS = {
  "model": {"name": str},
  "attack": {"name": _Names},
  "regime": {"name": _Names},
  "defense": {"name": _Names, "clean_rate": Any, "balanced": bool},
  "sequela": {"name": str | tuple | list | None},
}
_AHEAD = {"regime": "regime", "sequela": "sequel"}  # and what one is called
_ALONE = {
  "scenario": str,
  "seeds": Any,
  "precision": Annotated[str, Choice(backend.PRECISIONS)],
  plans.OVERRIDDEN: tuple | list,
}
TOP = (*SECTIONS, *METHODS, *_ALONE)


def check(config: dict[str, Any]) -> None:
  """Refuses a config with keys that are unknown, missing or cannot be so.

  Args:
    config: its sections as nested dicts; what older ones lack is filled in.

  Raises:
    ValueError: one sentence that names the key, its value and the remedy.
  """
  for key in TOP:
    if key not in config:
      raise ValueError(f"the config lacks {key!r}: start from configs/base.py.")
  sections = SECTIONS | METHODS
  for name in sections:
    if not isinstance(config[name], dict):
      raise ValueError(
        f"{name} is {values.shown(config[name])}, but must be a section of "
        "keys: start from configs/base.py."
      )
  _refuse_unknown(config)
  for name, keys in sections.items():
    for key, hint in keys.items():
      if key not in config[name]:
        raise ValueError(
          f"the config lacks '{name}.{key}': start from configs/base.py."
        )
      signature.check(f"{name}.{key}", hint, config[name][key])
  for name, hint in _ALONE.items():
    signature.check(name, hint, config[name])
  wrong = [k for k in config[plans.OVERRIDDEN] if not isinstance(k, str)]
  if wrong:
    raise ValueError(
      f"{plans.OVERRIDDEN} has {values.shown(wrong[0])}, but names keys alone: "
      "leave it out, bdjax writes it."
    )


def schemas(section: str) -> dict[str, dict[str, Argument]]:
  """Returns the arguments of all methods that a section may name, by name.

  Args:
    section: one of METHODS.
  """
  makes = regimes.REGIMES
  if section != "regime":
    kind = section if section in registry.KINDS else f"{section}s"
    makes = {name: registry.get(kind, name) for name in registry.names(kind)}
  return {name: signature.arguments(make) for name, make in makes.items()}


def _refuse_unknown(config: dict[str, Any]) -> None:
  top = (*TOP, *plans.LABELS)
  unknown = [key for key in config if key not in top]
  for section, keys in SECTIONS.items():
    unknown += [f"{section}.{k}" for k in config[section] if k not in keys]
  if unknown:
    inner = (f"{s}.{k}" for s, keys in SECTIONS.items() for k in keys)
    near = signature.nearest(str(unknown[0]), [*top, *inner])
    raise ValueError(f"unknown config key {unknown[0]!r}: {near}")
  for section, one in _AHEAD.items():
    given = [k for k, v in config[section].items() if v is not None]
    given = [k for k in given if k not in METHODS[section]]
    known = set().union(*schemas(section).values()) if given else set()
    for key in given:
      if key not in known:
        raise ValueError(
          f"{section}.{key}: no {one} has such an argument: "
          f"{signature.nearest(str(key), known)}"
        )


def seeds(value: Any) -> tuple[int, ...]:
  """Returns a config's seeds.

  Raises:
    ValueError: they are no whole numbers of 32 bits, none, or one comes twice.
  """
  given = tuple(value) if isinstance(value, tuple | list | range) else (value,)
  for seed in given:
    number = isinstance(seed, int) and not isinstance(seed, bool)
    if not number or seed not in _SEED:
      given = ()
  if not given:
    raise ValueError(
      f"seeds is {values.shown(value)}, but must be one or more whole "
      f"numbers from 0 to {_SEED.high}, such as (0, 1, 2)."
    )
  for i, seed in enumerate(given):
    if seed in given[:i]:
      raise ValueError(
        f"seeds is {values.shown(value)}, which has {seed} twice: a seed "
        "counts once, so leave one out."
      )
  return given
