"""Bytes that a compiled program moves, read from its text."""

from bdjax.aot import hlo, reading
from bdjax.aot.hlo import Instruction, Module

_PART = ("dynamic-slice", "gather", "slice")


def moved(module: Module) -> float:
  """Returns the bytes that kernels read from and write to main memory.

  Each kernel reads what it takes and writes what it makes, without padding;
  where it takes slices of an array, or replaces a part of one, it touches that
  part. Caches are not considered.
  """
  types = {
    name: {one.name: one.type for one in body}
    for name, body in module.computations.items()
  }

  def of(name, one):
    kind = one.opcode
    if kind in reading.FREE or kind.endswith("-done"):
      return 0.0
    if kind.endswith("-start"):
      return _begun(one.type)
    if kind == "fusion":
      return _fused(module, types, name, one)
    return _alone(types[name], one)

  return reading.total(module, module.entry, of)


def _alone(types: dict[str, str], one: Instruction) -> float:
  if one.opcode in _PART:
    return 2 * _size(one.type)
  given = [_size(types.get(name, "")) for name in one.operands]
  if one.opcode == "dynamic-update-slice":
    return 2 * given[1]
  return _size(one.type) + sum(given)


def _fused(module: Module, types, name: str, one: Instruction) -> float:
  inside = one.attribute("calls")
  body = module.computations.get(inside, [])
  root = next((x for x in body if x.root), None)
  places = {
    x.name: int(x.given)
    for x in body
    if x.opcode == "parameter" and x.given.isdigit()
  }
  whole, written = dict(enumerate(one.operands)), _size(one.type)
  read = 0.0
  if root is not None and root.opcode == "dynamic-update-slice":
    written = _size(types[inside].get(root.operands[1], ""))
    whole.pop(places.get(root.operands[0]), None)
  for parameter, place in places.items():
    users = [x for x in body if parameter in x.operands]
    if place not in whole or _size(types[name].get(whole[place], "")) == 0:
      continue
    if users and all(_is_part(x, parameter) for x in users):
      read += sum(_size(x.type) for x in users)
    else:
      read += _size(types[name][whole[place]])
  return written + read


def _is_part(user: Instruction, parameter: str) -> bool:
  return user.opcode in _PART and user.operands[0] == parameter


def _begun(kind: str) -> float:
  """Returns the bytes of what was started, of one side of the transfer."""
  if kind.startswith("(("):  # ((operands), result, ...)
    result = hlo.arrays(hlo.closed(kind[1:])[1])[:1]
    return sum(array.bytes for array in result)
  return _size(kind)


def _size(kind: str) -> float:
  return sum(array.bytes for array in hlo.arrays(kind) if array.far)
