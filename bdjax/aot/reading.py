"""What a compiled program does, read from its text.

Nothing runs. A loop's body counts as often as the compiler says that it runs
(once, where it does not), of a conditional the dearer branch.
"""

import collections
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from bdjax.aot import hlo
from bdjax.aot.hlo import Instruction, Module

COLLECTIVES = (
  *("all-reduce", "all-gather", "reduce-scatter", "all-to-all"),
  *("collective-permute", "collective-broadcast", "ragged-all-to-all"),
)
# Neither kernels nor memory traffic of their own.
FREE = (
  *("parameter", "constant", "tuple", "get-tuple-element", "bitcast"),
  *("while", "conditional", "call", "async-start", "after-all", ""),
  *("opt-barrier", "partition-id", "replica-id", "domain"),
)
_GROUPS = re.compile(r"(?:feature|batch)_group_count=(\d+)")


class Loop(NamedTuple):
  """A loop of the program.

  Attributes:
    trips: how often it goes round; None if the compiler does not know.
    depth: loops around it.
    label: where it comes from.
    inside: its computation.
  """

  trips: int | None
  depth: int
  label: str
  inside: str


class Product(NamedTuple):
  """A convolution or a product of matrices.

  Attributes:
    kind: convolution or dot.
    dtype: of what it takes.
    groups: 1 unless it is several in one.
    by: what does it: xla, or a library's name.
  """

  kind: str
  dtype: str
  groups: int
  by: str


def loops(module: Module) -> list[Loop]:
  """Returns all loops, outer ones before those inside them."""
  return list(_loops(module, module.entry, 0))


def _loops(module: Module, name: str, depth: int) -> Iterator[Loop]:
  for one in module.computations.get(name, []):
    if one.opcode == "while":
      body = one.attribute("body")
      yield Loop(trips(module, one), depth, one.label, body)
      yield from _loops(module, body, depth + 1)
    else:
      for inner in _entered(one):
        yield from _loops(module, inner, depth)


def _entered(one: Instruction) -> list[str]:
  if one.opcode == "conditional":
    return one.branches
  if one.opcode in ("call", "async-start"):
    callee = one.attribute("to_apply") or one.attribute("calls")
    return [callee] if callee else []
  return []


def trips(module: Module, loop: Instruction) -> int | None:
  """Returns how often a loop goes round, None if that is not known.

  Where the compiler left no note, it is the one whole number that the loop's
  condition compares its counter with; more than one would be a guess.
  """
  match = re.search(r'known_trip_count"?:?\s*\{"?n"?:"?(\d+)', loop.rest)
  if match:
    return int(match.group(1))
  near = list(module.computations.get(loop.attribute("condition"), []))
  for one in list(near):
    near += module.computations.get(one.attribute("calls") or "", [])
  bounds = {
    int(one.given)
    for one in near
    if one.opcode == "constant" and one.given.isdigit()
  }
  return bounds.pop() if len(bounds) == 1 else None


def serial(loops: Iterable[Loop], batches: set[int], size: int) -> list[Loop]:
  """Returns the loops with one trip per image.

  These are loops inside another (a step's, an epoch's) that go round a multiple
  of the images of a batch, and any loop that goes round at least once per image
  of the whole set: steps are fewer.

  Args:
    loops: all loops.
    batches: images that a device handles at once, in all kinds of batches.
    size: images of the set.
  """

  def one_each(loop):
    n = loop.trips or 0
    inside = loop.depth > 0 and any(n >= b and n % b == 0 for b in batches)
    return inside or n >= size

  return [loop for loop in loops if one_each(loop)]


def collectives(module: Module) -> dict[str, int]:
  """Returns how many instructions of the text talk to other devices."""
  counts = collections.Counter()
  for one in module.all():
    kind = one.opcode.removesuffix("-start")
    if kind in COLLECTIVES:
      counts[kind] += 1
  return dict(counts)


def products(module: Module) -> list[Product]:
  """Returns all convolutions and products, each once."""
  return [
    product
    for body in module.computations.values()
    for product in _products(body)
  ]


def _products(body: list[Instruction]) -> Iterator[Product]:
  types = {one.name: one.type for one in body}
  for one in body:
    target = (one.target or "") if one.opcode == "custom-call" else ""
    by = "cudnn" if "cudnn" in target else "cublas"
    if one.opcode in ("convolution", "dot"):
      kind, by = one.opcode, "xla"
    elif "conv" in target:
      kind = "convolution"
    elif "gemm" in target or "matmul" in target:
      kind = "dot"
    else:
      continue
    taken = [types[name] for name in one.operands[:1] if name in types]
    given = hlo.arrays(one.given) or hlo.arrays("".join(taken) or one.type)
    groups = max(1, *map(int, _GROUPS.findall(one.rest)), _as_space(one))
    yield Product(kind, given[0].dtype if given else "?", groups, by)


def _as_space(one: Instruction) -> int:
  """Returns the groups that XLA:TPU turned into one more dimension of space.

  Of G groups it makes a dimension with a window of G, a stride of G - 1 and an
  input dilated by G. One in place of both dimensions of an image is a product
  of several matrices, which is nothing unusual.
  """
  window = re.search(r"window=\{([^}]*)\}", one.rest)
  fields = dict(x.split("=") for x in window.group(1).split()) if window else {}
  sizes = _numbers(fields.get("size", ""))
  if len(sizes) < 3:
    return 1
  once = "x".join("1" * len(sizes))
  strides = _numbers(fields.get("stride", once))
  dilated = _numbers(fields.get("lhs_dilate", once))
  sides = zip(sizes, strides, dilated, strict=True)
  return max((n for n, by, far in sides if n == far == by + 1), default=1)


def _numbers(text: str) -> list[int]:
  return [int(n) for n in text.split("x") if n]


def cycles(module: Module) -> float:
  """Returns the cycles that XLA:TPU estimates for a whole run.

  Collectives and copies that overlap are not in it.
  """

  def estimated(name, one):
    match = re.search(r'"estimated_cycles":"(\d+)"', one.rest)
    return float(match.group(1)) if match else 0.0

  return total(module, module.entry, estimated)


def launches(module: Module, name: str | None = None) -> float:
  """Returns how many kernels one run starts, of a computation or of all."""

  def one(name, instruction):
    kind = instruction.opcode
    return float(kind not in FREE and not kind.endswith("-done"))

  return total(module, name or module.entry, one)


def total(
  module: Module, name: str, of: Callable[[str, Instruction], float]
) -> float:
  """Sums a number over what a computation runs, as often as it runs."""
  amount = 0.0
  for one in module.computations.get(name, []):
    amount += of(name, one)
    if one.opcode == "while":
      parts = (one.attribute("body"), one.attribute("condition"))
      once = sum(total(module, part, of) for part in parts)
      amount += (trips(module, one) or 1) * once
    else:
      inner = [total(module, part, of) for part in _entered(one)]
      amount += max(inner, default=0.0)
  return amount
