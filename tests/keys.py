"""Finds keys that a program derives twice, which JAX's own check does not.

`fold_in(key, i)` is `split(key, n)[i]` for JAX's default keys, so that a key
that is split in one place and folded in another gives the same child to both.
The keys of a traced program are followed through all its inner programs.
"""

import itertools
from typing import Any, NamedTuple

import jax

ANY = None  # an index that is known when the program runs


class Child(NamedTuple):
  """A key derived from another; of one that is split, perhaps all."""

  parent: Any
  index: int | None


class Split(NamedTuple):
  """The children of a key, or of each key of an array, along an axis."""

  parent: Any
  count: int
  axis: int


class Event(NamedTuple):
  """That a place derives a key, or draws with one (`index` is "draw").

  Attributes:
    place: equations' numbers from the outermost program on.
    branches: which of the branches of a `cond` it lies in.
    lines: of the package, from the innermost on.
  """

  index: Any
  place: tuple[int, ...]
  branches: dict[tuple[int, ...], int]
  lines: tuple[str, ...]


def reused(closed: Any) -> list[str]:
  """Returns a line for each two places that derive one key, or draw with it.

  Args:
    closed: what `jax.make_jaxpr` gives.
  """
  walk = _Walk()
  names = [("argument", i) for i, _ in enumerate(closed.jaxpr.invars)]
  walk.program(closed, names, (), {}, ())
  return walk.pairs()


class _Walk:
  def __init__(self):
    self.events: dict[Any, list[Event]] = {}

  def pairs(self) -> list[str]:
    return [
      f"{' < '.join(one.lines)} and {' < '.join(other.lines)}"
      for events in self.events.values()
      for one, other in itertools.combinations(events, 2)
      if one.place != other.place and _meet(one, other)
    ]

  def program(self, closed, names, place, branches, lines) -> list[Any]:
    jaxpr = getattr(closed, "jaxpr", closed)
    held = getattr(closed, "consts", ())
    known: dict[Any, Any] = {}
    for var, value in zip(jaxpr.constvars, held, strict=False):
      if _is_key(var):
        data = jax.random.key_data(value).tobytes()
        known[var] = ("constant", data)
    known |= zip(jaxpr.invars, names, strict=True)
    for i, eqn in enumerate(jaxpr.eqns):
      here = (*place, i)
      for given in {known.get(v) for v in eqn.invars if _is_key(v)}:
        if isinstance(given, Split) and eqn.primitive.name != "slice":
          every = range(given.count)
          self._note(given.parent, every, here, branches, _add(lines, eqn))
      found = self._equation(eqn, known, here, branches, _add(lines, eqn))
      known |= zip(eqn.outvars, found, strict=True)
    return [_name(known, v) for v in jaxpr.outvars]

  def _note(self, parent, indices, place, branches, lines):
    events = self.events.setdefault(parent, [])
    events += [Event(i, place, branches, lines) for i in indices]

  def _equation(self, eqn, known, here, branches, lines) -> list[Any]:
    names = [_name(known, v) for v in eqn.invars]
    kind, key = eqn.primitive.name, names[0] if names else None
    if kind == "slice" and isinstance(key, Split):
      return [self._sliced(eqn, key, here, branches, lines)]
    key = _one_of(key)
    if kind == "random_seed":
      value = getattr(eqn.invars[0], "val", here)
      return [("seed", str(value))]
    if kind == "random_split":
      return [Split(key, eqn.params["shape"][0], eqn.invars[0].aval.ndim)]
    if kind == "random_fold_in":
      value = getattr(eqn.invars[1], "val", ANY)
      index = ANY if value is ANY else int(value)
      self._note(key, [index], here, branches, lines)
      return [Child(key, index)]
    if kind == "random_bits":
      self._note(key, ["draw"], here, branches, lines)
      return [None]
    if kind in (
      "squeeze",
      "reshape",
      "broadcast_in_dim",
      "convert_element_type",
    ):
      return [key]
    inner = self._inner(eqn, names, here, branches, lines)
    if inner is not None:
      return inner
    return [(here, i) for i, _ in enumerate(eqn.outvars)]

  def _sliced(self, eqn, key, here, branches, lines) -> Any:
    start = eqn.params["start_indices"][key.axis]
    stop = eqn.params["limit_indices"][key.axis]
    self._note(key.parent, range(start, stop), here, branches, lines)
    return Child(key.parent, start if stop == start + 1 else ANY)

  def _inner(self, eqn, names, here, branches, lines) -> list[Any] | None:
    params, kind = eqn.params, eqn.primitive.name
    if kind == "cond":
      for i, branch in enumerate(params["branches"]):
        within = branches | {here: i}
        self.program(branch, names[1:], (*here, i), within, lines)
      return None
    if kind == "while":
      first, second = params["cond_nconsts"], params["body_nconsts"]
      state = [(here, i) for i, _ in enumerate(names[first + second :])]
      now = names[:first] + state
      self.program(params["cond_jaxpr"], now, (*here, 0), branches, lines)
      now = names[first : first + second] + state
      self.program(params["body_jaxpr"], now, (*here, 1), branches, lines)
      return None
    if kind == "scan":
      count, carried = params["num_consts"], params["num_carry"]
      state = [(here, i) for i in range(carried)]
      rows = map(_one_of, names[count + carried :])
      now = [*names[:count], *state, *rows]
      self.program(params["jaxpr"], now, here, branches, lines)
      return None
    for name in ("jaxpr", "call_jaxpr"):
      if name in params and len(params[name].in_avals) == len(names):
        return self.program(params[name], names, here, branches, lines)
    return None


def _one_of(name: Any) -> Any:
  return Child(name.parent, ANY) if isinstance(name, Split) else name


def _is_key(var: Any) -> bool:
  return jax.dtypes.issubdtype(var.aval.dtype, jax.dtypes.prng_key)


def _name(known, var) -> Any:
  return None if hasattr(var, "val") else known.get(var)


def _meet(one: Event, other: Event) -> bool:
  apart = one.branches.keys() & other.branches.keys()
  if any(one.branches[k] != other.branches[k] for k in apart):
    return False
  if "draw" in (one.index, other.index):
    return one.index == other.index
  return ANY in (one.index, other.index) or one.index == other.index


def _add(lines: tuple[str, ...], eqn: Any) -> tuple[str, ...]:
  trace = eqn.source_info.traceback
  frames = trace.frames if trace else ()
  own = [
    f"{f.file_name.rpartition('/bdjax/')[2]}:{f.line_num}"
    for f in frames
    if "/bdjax/" in f.file_name and "site-packages" not in f.file_name
  ]
  return tuple(dict.fromkeys(own[:1] + list(lines)))
