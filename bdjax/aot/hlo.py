"""Reads the text of a compiled program: computations and instructions."""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_LINE = re.compile(r"^\s+(?:ROOT )?%([\w.\-]+) = (.*)$")
_NAME = re.compile(r"%([\w.\-]+)")
_ARRAY = re.compile(r"\b([a-z]+\d*\w*)\[([\d,]*)\](\{[^}]*\})?")
_CALLED = ("calls", "to_apply", "body", "condition")
_BRANCHES = ("true_computation", "false_computation")
_BITS = {"pred": 8}


class Instruction(NamedTuple):
  """One line of a computation.

  Attributes:
    name: without its %.
    type: of what it makes, with layouts.
    opcode: such as fusion.
    given: the text in parentheses: operands, or a constant's value.
    rest: its attributes.
    root: whether it is what the computation returns.
  """

  name: str
  type: str
  opcode: str
  given: str
  rest: str
  root: bool = False

  @property
  def operands(self) -> list[str]:
    """Names of what it takes."""
    return _NAME.findall(self.given)

  def attribute(self, name: str) -> str | None:
    """Returns the value of an attribute, such as body's computation."""
    match = re.search(rf"\b{name}=%?([\w.\-$]+)", self.rest)
    return match and match.group(1)

  @property
  def label(self) -> str:
    """Where it comes from in the Python program, as XLA keeps it."""
    match = re.search(r'op_name="([^"]*)"', self.rest)
    return match.group(1) if match else self.name

  @property
  def target(self) -> str | None:
    """What a custom call calls."""
    match = re.search(r'custom_call_target="([^"]*)"', self.rest)
    return match and match.group(1)

  @property
  def branches(self) -> list[str]:
    """The computations of a conditional."""
    match = re.search(r"branch_computations=\{([^}]*)\}", self.rest)
    if match:
      return _NAME.findall(match.group(1))
    named = (self.attribute(name) for name in _BRANCHES)
    return [name for name in named if name]


class Array(NamedTuple):
  """An array of a type: dtype, shape, layout with its memory space."""

  dtype: str
  shape: tuple[int, ...]
  layout: str

  @property
  def bytes(self) -> float:
    """Bytes without padding."""
    bits = _BITS.get(self.dtype) or _width(self.dtype)
    return math.prod(self.shape) * bits / 8

  @property
  def far(self) -> bool:
    """Whether it lies in the device's main memory, not in a TPU's VMEM."""
    return "S(" not in self.layout


class Module(NamedTuple):
  """A program: computations by name, and which of them is run."""

  computations: dict[str, list[Instruction]]
  entry: str

  def all(self) -> Iterator[Instruction]:
    """Yields every instruction once, those inside fusions too."""
    for body in self.computations.values():
      yield from body


def parse(text: str) -> Module:
  """Returns the program of a text.

  Raises:
    ValueError: it has no entry, so it is no program.
  """
  computations, current, entry = {}, None, None
  for line in text.splitlines():
    head = None if line.startswith(" ") else _HEAD.match(line)
    if head:
      current = computations.setdefault(head.group(2), [])
      entry = head.group(2) if head.group(1) else entry
    elif current is not None and (match := _LINE.match(line)):
      name, rest = match.groups()
      root = line.lstrip().startswith("ROOT")
      current.append(_instruction(name, rest, root))
  if entry is None:
    raise ValueError("the text has no line that begins with ENTRY: not HLO.")
  return Module(computations, entry)


def arrays(text: str) -> list[Array]:
  """Returns the arrays of a type, a tuple's one after the other."""
  return [
    Array(dtype, tuple(int(n) for n in shape.split(",") if n), layout or "")
    for dtype, shape, layout in _ARRAY.findall(text)
  ]


def _instruction(name: str, text: str, root: bool) -> Instruction:
  kind, rest = closed(text) if text.startswith("(") else _split(text)
  match = re.match(r"\s*([\w\-]+)(?=\()", rest)
  if not match:
    return Instruction(name, kind, "", "", rest, root)
  given, rest = closed(rest[match.end() :])
  return Instruction(name, kind, match.group(1), given[1:-1], rest, root)


def _split(text: str) -> tuple[str, str]:
  kind, _, rest = text.partition(" ")
  return kind, rest


def closed(text: str) -> tuple[str, str]:
  """Returns the text up to the parenthesis that closes its first, and on."""
  depth = 0
  for place, letter in enumerate(text):
    depth += (letter == "(") - (letter == ")")
    if depth == 0:
      return text[: place + 1], text[place + 1 :]
  return text, ""


def _width(dtype: str) -> int:
  """Returns a dtype's bits: f32 has 32, f8e4m3fn has 8, a token none."""
  match = re.match(r"[a-z]+?(\d+)", dtype)
  return int(match.group(1)) if match else 0
