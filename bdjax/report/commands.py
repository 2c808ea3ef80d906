"""The commands that a work directory was run by, each once, in their order.

They are what a stranger types to have the same cells: the config and its keys,
without the places where results go.
"""

import json

from bdjax.machine import storage
from bdjax.machine.storage import Place
from bdjax.report import results

NAME = "commands.json"


def read(folder: Place) -> list[str]:
  """Returns a folder's commands, none if it does not say.

  Raises:
    ValueError: its file holds something else.
  """
  path = folder / NAME
  texts = (results.read_object(path) or {"commands": []}).get("commands")
  if not isinstance(texts, list) or not all(isinstance(t, str) for t in texts):
    raise ValueError(f"{path} holds no commands; mend or delete it.")
  return texts


def write(folder: Place, texts: list[str]) -> None:
  """Writes a folder's commands over those it had."""
  about = json.dumps({"commands": texts}, indent=2) + "\n"
  storage.write(folder / NAME, about)
