"""Where a file has the tensors of an architecture, by their names.

The arrays that a model needs are asked from the model, and the `tables` rename
them. A file may have them behind a prefix, beside others, or its last layer
within a Sequential.
"""

import functools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from bdjax.interop.refusals import Refused, listed, shown
from bdjax.interop.tables import (
  ARCHITECTURES,
  IGNORED,
  LEAVES,
  Architecture,
  Layout,
)
from bdjax.methods import registry, signature

Path = tuple[str, ...]  # collection, modules, leaf
Tensors = Mapping[str, np.ndarray]
Names = dict[str, str]  # from a layout's names to a file's
_TRIED = 20  # prefixes, of names that do not fit
_ALIKE = 0.5  # of all names; below it, tensors look like no known model


class Mismatch(Refused):
  """Tensors or variables that are not those of the architecture asked for."""


class Seen(NamedTuple):
  """Where a file has the tensors of an architecture.

  Attributes:
    layout: whose names it uses.
    prefix: before all of them; "" mostly.
    names: from the layout's names to the file's without the prefix, which
      differ where the last layer is the only one in a Sequential.
    levels: mean and standard deviation, of a layer that normalizes images,
      as the file names them; or none.
    rest: names of tensors that no inference needs, such as a loss's weights.
  """

  layout: Layout
  prefix: str
  names: Names
  levels: dict[str, str]
  rest: tuple[str, ...]

  def taken(self) -> tuple[str, ...]:
    """Returns the file's names of the tensors that are taken."""
    inner = (self.prefix + name for name in self.names.values())
    return (*inner, *self.levels.values())


def seen(tensors: Tensors, arch: str) -> Seen:
  """Returns where a file has the tensors of an architecture.

  Args:
    tensors: by PyTorch's names, in any of the architecture's layouts.
    arch: name of a model in `tables.ARCHITECTURES`.

  Raises:
    Mismatch: names are not the architecture's; says which, and whose they are
      likely to be.
    ValueError: the architecture is unknown; names the known ones.
  """
  table = architecture(arch)
  kept = {k: v for k, v in tensors.items() if not k.endswith(IGNORED)}
  places = [one for x in table.layouts for one in _places(kept, arch, x)]
  if not places:
    inner = [
      (layout, {k.removeprefix(prefix): v for k, v in kept.items()})
      for layout in table.layouts
      for prefix in ["", *_prefixes(kept, _stem(arch, layout))[:_TRIED]]
    ]
    layout, best = max(inner, key=lambda x: _likeness(x[1], arch, x[0]))
    _check_names(best, arch, layout)
    raise Mismatch(
      "some names are there twice, with a prefix and without; save one model's "
      "tensors alone."
    )
  places.sort(key=lambda one: (_not_first(one), len(one.prefix)))
  first, *others = places
  for other in others:
    if other.layout is first.layout and not _same(kept, first, other):
      raise Mismatch(
        f"two sets of tensors are those of {arch}: names that start with "
        f"{shown(other.prefix)} and with {shown(first.prefix) or 'nothing'}; "
        "save one of them alone."
      )
  return first


def _places(tensors: Tensors, arch: str, layout: Layout) -> Iterator[Seen]:
  """Yields where all names of a layout are, and nothing else of weight."""
  names = {called(path, layout) for path in plain(arch, layout)}
  for prefix in _prefixes(tensors, _stem(arch, layout)):
    known = _head(tensors, prefix, names)
    if not all(prefix + theirs in tensors for theirs in known.values()):
      continue
    rest = tensors.keys() - {prefix + theirs for theirs in known.values()}
    levels = _levels(tensors, rest)
    rest = sorted(rest - set(levels.values()))
    weighty = [k for k in rest if k.startswith(prefix) or tensors[k].ndim > 1]
    if not weighty or prefix and _repeats(weighty, known):
      yield Seen(layout, prefix, known, levels, tuple(rest))


def _not_first(place: Seen) -> bool:
  """Returns whether a layer that normalizes has the place of one that resizes.

  A layout that resizes is a Sequential of that and a model; `tables` says so.
  """
  first = f"{place.prefix}0."
  levels = place.levels.values()
  resizes = place.layout.arguments.get("resize", False)
  return resizes and any(name.startswith(first) for name in levels)


def _repeats(weighty: Sequence[str], known: Names) -> bool:
  """Returns whether other tensors are the model's again, by another prefix."""
  ends = {theirs.rpartition(".")[0] for theirs in known.values()}
  modules = {name.rpartition(".")[0] for name in weighty}
  return all(
    any(module.endswith(f".{end}") for end in ends) for module in modules
  )


def _same(tensors: Tensors, first: Seen, other: Seen) -> bool:
  pairs = zip(first.names.values(), other.names.values(), strict=True)
  return all(
    np.array_equal(tensors[first.prefix + one], tensors[other.prefix + two])
    for one, two in pairs
  )


def _head(tensors: Tensors, prefix: str, names: Collection[str]) -> Names:
  """Returns a layout's names as a file has them, but for the prefix."""
  known = {name: name for name in names}
  lost = {
    name.rpartition(".")[0] for name in names if prefix + name not in tensors
  }
  if len(lost) != 1:
    return known
  (module,) = lost
  inner = re.compile(re.escape(prefix + module) + r"\.(\d+)\.weight")
  places = [m[1] for m in map(inner.fullmatch, tensors) if m]
  if len(places) == 1:
    for leaf in ("weight", "bias"):
      known[f"{module}.{leaf}"] = f"{module}.{places[0]}.{leaf}"
  return known


def _levels(tensors: Tensors, names: Collection[str]) -> dict[str, str]:
  """Returns the mean and deviation of a layer that normalizes images."""
  levels = {}
  for name in names:
    last = re.split(r"[._]", name)[-1]
    small = tensors[name].size in (1, 3) and "running" not in name
    if last in ("mean", "std") and small:
      levels[last] = name
  return levels if len(levels) == 2 else {}


def begun(tensors: Tensors, arch: str) -> bool:
  """Returns whether tensors have the name of an architecture's first layer.

  Without it they are not its own, which is told so before it is traced.
  """
  stems = (_stem(arch, layout) for layout in architecture(arch).layouts)
  return any(_prefixes(tensors, stem) for stem in stems)


def _prefixes(tensors: Tensors, stem: str) -> list[str]:
  """Returns what may stand before all names, by where the first layer is."""
  ends = [name.removesuffix(stem) for name in tensors if name.endswith(stem)]
  return sorted((p for p in ends if not p or p.endswith(".")), key=len)


def _stem(arch: str, layout: Layout) -> str:
  return called(param(architecture(arch).stem), layout)


def architecture(arch: str) -> Architecture:
  """Returns what is known of an architecture.

  Raises:
    ValueError: it is unknown; names the known ones.
  """
  if arch not in ARCHITECTURES:
    raise ValueError(
      f"no PyTorch names are known for architecture {arch!r}: "
      f"{signature.nearest(arch, ARCHITECTURES)}"
    )
  return ARCHITECTURES[arch]


def plain(arch: str, layout: Layout) -> dict[Path, tuple[int, ...]]:
  """Returns paths and shapes of a model of any widths in a layout."""
  given = {"num_classes": 2} | architecture(arch).any_size | layout.arguments
  return shapes(arch, tuple(sorted(given.items())))


@functools.cache
def shapes(
  arch: str, arguments: tuple[tuple[str, Any], ...], channels: int = 3
) -> dict[Path, tuple[int, ...]]:
  """Returns the shape of every array of a model; nothing is computed."""
  levels = {"mean": (0.0,) * channels, "std": (1.0,) * channels}
  given = dict(arguments)
  model = registry.get("models", arch)(**given, **levels)
  size = given.get("size", 32)
  images = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
  variables = jax.eval_shape(model.init, jax.random.key(0), images)
  return {path: leaf.shape for path, leaf in flatten_dict(variables).items()}


def param(dotted: str) -> Path:
  """Returns our path of a parameter, from a table's name of it."""
  return ("params", *dotted.split("."))


def called(path: Path, layout: Layout) -> str:
  """Returns a layout's name of our array at a path."""
  module = ".".join(path[1:-1])
  for pattern, replacement in layout.rules:
    module = re.sub(pattern, replacement, module)
  name = ".".join(filter(None, (module, LEAVES[path[-1]])))
  for pattern, replacement in layout.names:
    name = re.sub(pattern, replacement, name)
  return name


def _likeness(tensors: Tensors, arch: str, layout: Layout) -> float:
  """Returns the share of names that tensors and layout have in common."""
  names = {called(path, layout) for path in plain(arch, layout)}
  return len(names & tensors.keys()) / len(names | tensors.keys())


def _check_names(tensors: Tensors, arch: str, layout: Layout) -> None:
  names = {called(path, layout) for path in plain(arch, layout)}
  odd = []
  for what, some in (
    ("missing", names - tensors.keys()),
    ("unknown", tensors.keys() - names),
  ):
    if some:
      odd.append(f"{len(some)} {what} ({listed(sorted(some))})")
  if odd:
    raise Mismatch(
      f"the tensors are not those of {arch} ({layout.name}): "
      f"{', '.join(odd)}; {_nearest(tensors, arch, layout)}"
    )


def _nearest(tensors: Tensors, arch: str, layout: Layout) -> str:
  others = [(a, x) for a, table in ARCHITECTURES.items() for x in table.layouts]
  # One whose first layer is not there is not worth the time to trace it.
  known = [(a, x) for a, x in others if _stem(a, x) in tensors]
  best = max(
    [(arch, layout), *known], key=lambda each: _likeness(tensors, *each)
  )
  if _likeness(tensors, *best) < _ALIKE:
    known = ", ".join(ARCHITECTURES)
    return f"they look like none of the known ones: {known}."
  if best == (arch, layout):
    return "no known one is nearer, so the file is not whole, or of another."
  return f"the nearest is {best[0]} ({best[1].name}): ask for that."
