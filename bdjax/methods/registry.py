"""Finds attacks, defenses, scenarios and models by file name.

A method is registered by lying in its folder: `bdjax/attacks/badnets.py` is the
attack `badnets`; what several share lies in the folder `parts` beside them. Its
module has `make(...)`, and may have `PRESETS`, a dict of named argument sets;
its docstring's first line describes it.
"""

import importlib
import pkgutil
from collections.abc import Callable
from types import ModuleType
from typing import Any

from bdjax.methods import signature

KINDS = ("attacks", "defenses", "sequela", "scenarios", "models")


def names(kind: str) -> list[str]:
  """Returns the sorted names of one of the KINDS."""
  if kind not in KINDS:
    raise ValueError(f"unknown kind {kind!r}: {signature.nearest(kind, KINDS)}")
  path = importlib.import_module(f"bdjax.{kind}").__path__
  modules = (m.name for m in pkgutil.iter_modules(path) if not m.ispkg)
  return sorted(name for name in modules if not name.startswith("_"))


def module(kind: str, name: str) -> ModuleType:
  """Returns a method's module.

  Raises:
    ValueError: the name is unknown; names the nearest ones.
  """
  known = names(kind)
  if name not in known:
    single = kind.removesuffix("s")
    raise ValueError(
      f"unknown {single} {name!r}: {signature.nearest(name, known)}"
    )
  return importlib.import_module(f"bdjax.{kind}.{name}")


def get(kind: str, name: str) -> Callable[..., Any]:
  """Returns the `make` of a method."""
  return module(kind, name).make


def presets(kind: str, name: str) -> dict[str, dict[str, Any]]:
  """Returns a method's named argument sets."""
  return getattr(module(kind, name), "PRESETS", {})


def describe(kind: str) -> dict[str, str]:
  """Returns each method's name with the first line of its docstring."""
  return {
    name: (module(kind, name).__doc__ or "").strip().partition("\n")[0]
    for name in names(kind)
  }
