"""bdjax: can this backdoor be fine-tuned away, and can that one survive it?"""

import importlib
from typing import Any

__version__ = "0.1.0"
_PLACES = {  # what is exported, and where it lies
  "cleanse": "bdjax.cleanse",
  "experiment": "bdjax.api.experiment",
  "load": "bdjax.api.outcome",
  "load_model": "bdjax.api.models",
  "save_models": "bdjax.api.models",
}
__all__ = ["cleanse", "experiment", "load", "load_model", "save_models"]


def __getattr__(name: str) -> Any:
  """Imports what is exported when it is first asked for."""
  if name not in _PLACES:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  module = importlib.import_module(_PLACES[name])
  return getattr(module, name, module)
