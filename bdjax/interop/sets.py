"""Which weights of a checkpoint are the model's.

A checkpoint may hold several sets of them: a classifier among generators, raw
ones and their average, a teacher and its student. Sets are mappings within
mappings, or share a mapping and differ in the first part of their names.
"""

import collections
import re
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import numpy as np

from bdjax.interop.refusals import Refused, listed, shown

# In the order in which they are tried; "netC" is a classifier among generators.
WRAPPERS = ("model", "state_dict", "model_state_dict", "net", "netC", "weights")
PREFIXES = ("module.", "_orig_mod.")  # of DataParallel, of torch.compile
RAW, EMA = "raw", "ema"
_AVERAGED = re.compile(r"(^|[._])(ema|averaged?|avg|swa|shadow)([._]|$)")
_COUNTERS = ("n_averaged",)  # of torch's AveragedModel
_LEVELS = 3  # a state dict in a wrapper in a wrapper
_ALIKE = 0.9  # of the names, that two sets of one model have in common
_FEW = 10  # tensors, fewer of which are no model

Tensors = dict[str, np.ndarray]


class Picked(NamedTuple):
  """A set of weights.

  Attributes:
    tensors: by name.
    name: of the set; "" for all of a file.
    others: names of the sets that could have been taken instead.
  """

  tensors: Tensors
  name: str
  others: tuple[str, ...]


def picked(content: Any, weights: str | None) -> Picked:
  """Returns the weights of what a file holds.

  Args:
    content: plain values and arrays.
    weights: the name of a set; or, where none of a model has that name, "raw",
      or "ema" for one that is an average; None for the latter if there is one.

  Raises:
    Refused: there are no weights, several without a usual name, or none of
      the name that is asked for.
  """
  whole = dict(_mappings(content, "", 0))
  known = dict(whole)
  for name, tensors in whole.items():
    known |= _parts(tensors, name)
  usual = _usual(known, whole)
  rivals = [name for name in known if _alike(known, name, usual)]
  averaged = [name for name in rivals if _AVERAGED.search(name.lower())]
  raw = [name for name in (usual, *rivals) if name in known]
  raw = [name for name in dict.fromkeys(raw) if name not in averaged]
  named = [name for name in known if name == weights]
  options = {None: averaged or raw, EMA: averaged, RAW: raw}
  alike = [name for name in named if name in (*raw, *averaged)]
  chosen = alike or options.get(weights) or named
  if not chosen:
    raise _unclear(content, whole, weights)
  rest = [name for name in (*raw, *averaged) if name != chosen[0]]
  return Picked(_stripped(known[chosen[0]]), chosen[0], tuple(rest))


def _unclear(
  content: Any, whole: Collection[str], weights: str | None
) -> Refused:
  names = listed([name or "the whole file" for name in whole], limit=9)
  if weights is not None:
    return Refused(
      f"holds no weights called {shown(weights)}, but {names or 'none'}; leave "
      "out --weights, or give one of these."
    )
  if whole:
    return Refused(
      f"holds several sets of weights ({names}), none under a usual name; say "
      "with --weights which is meant."
    )
  keys = (
    list(content) if isinstance(content, dict) else [type(content).__name__]
  )
  keys = listed(keys) or "nothing"
  return Refused(
    f"holds no weights under {', '.join(WRAPPERS)} but {keys}; save "
    "them with torch.save(model.state_dict(), ...)."
  )


def _mappings(
  content: Any, name: str, level: int
) -> Iterator[tuple[str, Tensors]]:
  """Yields the sets that have a mapping of their own, by name."""
  if not isinstance(content, dict):
    return
  tensors = {
    key: value
    for key, value in content.items()
    if isinstance(key, str) and isinstance(value, np.ndarray)
    if key not in _COUNTERS
  }
  if tensors:
    yield name, tensors
  for key, value in content.items() if level < _LEVELS else ():
    if isinstance(key, str) and "optim" not in key:
      yield from _mappings(value, _joined(name, key), level + 1)


def _parts(tensors: Tensors, name: str) -> dict[str, Tensors]:
  """Returns the sets that share a mapping, where several are alike."""
  groups: dict[str, Tensors] = {}
  for key, value in _stripped(tensors).items():
    first, _, rest = key.partition(".")
    if rest not in _COUNTERS:
      groups.setdefault(first, {})[rest] = value
  groups = {first: _stripped(group) for first, group in groups.items()}
  names = collections.Counter(frozenset(group) for group in groups.values())
  return {
    _joined(name, first): group
    for first, group in groups.items()
    if len(group) >= _FEW and names[frozenset(group)] > 1
  }


def _joined(name: str, key: str) -> str:
  return f"{name}.{key}" if name else key


def _usual(known: Collection[str], whole: dict[str, Tensors]) -> str | None:
  """Returns the set under the usual names, or the only one of a model."""
  name = ""
  for _ in range(_LEVELS):
    inner = [
      path
      for path in (_joined(name, wrapper) for wrapper in WRAPPERS)
      if any(k == path or k.startswith(f"{path}.") for k in known)
    ]
    if not inner:
      break
    name = inner[0]
  if name in known and (name or len(whole) == 1):
    return name
  large = [k for k in whole if len(whole[k]) >= _FEW] or list(whole)
  return large[0] if len(large) == 1 else None


def _alike(known: dict[str, Tensors], name: str, other: str | None) -> bool:
  """Returns whether two sets have the names of one model."""
  if other is None or name == other:
    return False
  few, many = sorted((len(known[name]), len(known[other])))
  if few < max(_FEW, _ALIKE * many):
    return False
  one, two = _stripped(known[name]).keys(), _stripped(known[other]).keys()
  return len(one & two) >= _ALIKE * len(one | two)


def _stripped(tensors: Tensors) -> Tensors:
  for prefix in PREFIXES * 2:  # either may wrap the other
    if tensors and all(name.startswith(prefix) for name in tensors):
      tensors = {name.removeprefix(prefix): v for name, v in tensors.items()}
  return tensors
