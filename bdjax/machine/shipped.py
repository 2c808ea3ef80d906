"""What comes with the package beside its code: configs, published numbers.

In a clone they lie at its top; in an installation, inside the package.
"""

import importlib.util
import sys
import types
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def configs() -> Path:
  """Returns the folder of the configs."""
  return _place("configs")


def published() -> Path:
  """Returns the folder of the numbers that papers print."""
  return _place("docs/published")


def _place(folder: str) -> Path:
  inside = PACKAGE / Path(folder).name
  return inside if inside.is_dir() else PACKAGE.parent / folder


def importable() -> None:
  """Lets configs import each other as `configs`, wherever Python started.

  A folder of that name which Python finds anyway is looked through as well.
  """
  if "configs" in sys.modules:
    return
  spec = importlib.util.find_spec("configs")
  elsewhere = spec.submodule_search_locations if spec else None
  package = types.ModuleType("configs")
  package.__path__ = [*dict.fromkeys([str(configs()), *(elsewhere or ())])]
  sys.modules["configs"] = package


def config(name: str) -> Path | None:
  """Returns the config of a name that is no file here, or None.

  Args:
    name: quickstart, papers/fmn_table2 or configs/quickstart.py, say.
  """
  path = Path(name.removeprefix("configs/")).with_suffix(".py")
  if path.is_absolute() or ".." in path.parts or path.name.startswith("_"):
    return None
  path = configs() / path
  return path if path.is_file() else None
