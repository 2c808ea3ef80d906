"""A small pickle machine that can build values and cannot call anything.

Python's own unpickler calls what a file names, and sets attributes on it: even
one that is told which names to allow lets a file rewrite those. This machine
knows the instructions that torch.save writes, keeps names as inert tokens, and
hands a call it is asked to make to a table of our own functions.

Every instruction takes constant time for each byte it reads, and pays for the
memory that its values take from a purse that the file's size fills: a byte of
code may ask for a list of 56. What a table's function copies, it accounts for.
"""

import struct
from collections.abc import Callable
from typing import Any

from bdjax.interop._values import (
  ENTRY,
  PLACE,
  ROOM,
  Inert,
  Name,
  Pending,
  Purse,
  Rebuild,
  check_size,
)
from bdjax.interop.refusals import RESAVE, Refused, UnsafeFile

# A benchmark's result file takes 136 bytes and 28 instructions for each image
# that it lists.
CODE = 32 * 2**20
INSTRUCTIONS = 4_000_000
_KEY = 2**60  # Python hashes larger integers onto smaller ones
# What may be a key, but is not looked for: such entries are left out, as some
# hash alike, and nobody knows how many.
_OTHER_KEYS = (bool, float, bytes, tuple, type(None), Name, Inert)
_FULL = (
  "describes more values than its size allows for; save the weights alone."
)


class Machine:
  """Runs one pickle; make it, then call `run` once."""

  def __init__(self, code: bytes, rebuild: Rebuild, *, room: int = ROOM):
    """Takes a pickle's bytes, and what stands for the names in it.

    Args:
      code: the pickle.
      rebuild: what stands for the names in it.
      room: bytes of memory that its values may take.

    Raises:
      Refused: there are too many bytes.
    """
    if len(code) > CODE:
      raise Refused(
        f"describes its contents in {len(code)} bytes, more than the {CODE} "
        "that are read; save the weights alone."
      )
    self._code, self._position = code, 0
    self._rebuild = rebuild
    self._purse = Purse(room, _FULL)
    self._stack: list[Any] = []
    self._marks: list[int] = []
    self._memo: dict[int, Any] = {}

  @property
  def end(self) -> int:
    """Bytes of code that were read so far."""
    return self._position

  def run(self) -> Any:
    """Returns the value that the pickle describes.

    Raises:
      UnsafeFile: it names a global that is not known.
      Refused: it is damaged, too large, nested too deeply, or repeats itself.
    """
    for _ in range(INSTRUCTIONS):
      code = self._take(1)[0]
      if code == ord("."):
        value = self._pop()
        self._memo.clear()  # checking takes memory too
        check_size(value)
        return value
      if code not in _INSTRUCTIONS:
        raise Refused(
          f"uses the pickle instruction {code:#04x}, which torch.save does not "
          "write; save it again with torch.save."
        )
      _INSTRUCTIONS[code](self)
    raise Refused(
      f"needs more than {INSTRUCTIONS} instructions to describe its contents; "
      "save the weights alone."
    )

  def _take(self, count: int) -> bytes:
    piece = self._code[self._position : self._position + count]
    if len(piece) < count:
      raise self._broken()
    self._position += count
    return piece

  def _number(self, kind: str) -> Any:
    return struct.unpack(kind, self._take(struct.calcsize(kind)))[0]

  def _line(self) -> str:
    end = self._code.find(b"\n", self._position)
    self._need(end >= 0)
    line = self._take(end - self._position)
    self._take(1)
    return self._text(line)

  def _text(self, raw: bytes) -> str:
    try:
      return raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
      raise self._broken() from None

  def _broken(self) -> Refused:
    return Refused(
      f"is damaged: its pickle makes no sense at byte {self._position}; fetch "
      "or save it again."
    )

  def _need(self, sense: bool) -> None:
    if not sense:
      raise self._broken()

  def _floor(self) -> int:
    return self._marks[-1] if self._marks else 0

  def _push(self, value: Any) -> None:
    self._purse.spend_on(value)
    self._stack.append(value)

  def _pop(self) -> Any:
    self._need(len(self._stack) > self._floor())
    return self._stack.pop()

  def _top(self) -> Any:
    self._need(len(self._stack) > self._floor())
    return self._stack[-1]

  def _pop_marked(self) -> list[Any]:
    self._need(bool(self._marks))
    mark = self._marks.pop()
    items = self._stack[mark:]
    del self._stack[mark:]
    return items

  def _mark(self) -> None:
    self._purse.spend(3 * PLACE)
    self._marks.append(len(self._stack))

  def _tuple(self, size: int) -> None:
    values = [self._pop() for _ in range(size)]
    self._push(tuple(reversed(values)))

  def _extend(self, values: list[Any]) -> None:
    target = self._top()
    if isinstance(target, Inert):
      return
    self._need(isinstance(target, list))
    self._purse.spend(PLACE * len(values))
    target.extend(values)

  def _update(self, values: list[Any]) -> None:
    target = self._top()
    if isinstance(target, Inert):
      return
    self._need(isinstance(target, dict) and len(values) % 2 == 0)
    self._purse.spend(ENTRY * (1 + len(values) // 2))
    for key, value in zip(values[::2], values[1::2], strict=True):
      if isinstance(key, str) or type(key) is int and abs(key) < _KEY:
        target[key] = value
      else:
        self._need(isinstance(key, _OTHER_KEYS))

  def _pair(self) -> list[Any]:
    value = self._pop()
    return [self._pop(), value]

  def _remember(self, slot: int) -> None:
    value = self._top()
    self._purse.spend(0 if slot in self._memo else ENTRY)
    self._memo[slot] = value
    if isinstance(value, Pending):
      value.slot = slot

  def _recall(self, slot: int) -> None:
    self._need(slot in self._memo)
    self._purse.spend(PLACE)
    self._stack.append(self._memo[slot])

  def _name(self, module: Any, name: Any) -> None:
    self._need(isinstance(module, str) and isinstance(name, str))
    reference = Name(module, name)
    if not self._rebuild.knows(reference):
      raise UnsafeFile(
        f"asks for {reference}, which no tensor needs, so nothing of it was "
        f"run; {RESAVE}"
      )
    self._push(reference)

  def _instance(self) -> None:
    self._name(self._line(), self._line())
    self._need(False)  # none of the names we know is made this way

  def _named_by_stack(self) -> None:
    module, name = self._pair()
    self._name(module, name)

  def _reduce(self) -> None:
    name, arguments = self._pair()
    self._need(isinstance(name, Name) and isinstance(arguments, tuple))
    self._push(self._rebuild.call(name, arguments))

  def _build(self) -> None:
    state, target = self._pop(), self._top()
    if isinstance(target, dict | Inert):
      return  # attributes of an OrderedDict, such as a state dict's versions
    self._need(isinstance(target, Pending))
    self._stack[-1] = target.finish(state)
    if target.slot is not None:
      self._memo[target.slot] = self._stack[-1]

  def _long(self) -> None:
    raw = self._take(self._number("<B"))
    self._push(int.from_bytes(raw, "little", signed=True))

  def _push_text(self, kind: str) -> None:
    raw = self._take(self._number(kind))
    if not raw.isascii():
      self._purse.spend(3 * len(raw))  # one letter may make all of them wide
    self._push(self._text(raw))


Instruction = Callable[[Machine], None]
# By the names in Python's pickletools.
_INSTRUCTIONS: dict[int, Instruction] = {
  0x80: lambda m: m._take(1),  # PROTO
  0x95: lambda m: m._take(8),  # FRAME
  ord("("): Machine._mark,
  ord("}"): lambda m: m._push({}),
  ord("]"): lambda m: m._push([]),
  ord(")"): lambda m: m._push(()),
  ord("t"): lambda m: m._push(tuple(m._pop_marked())),
  0x85: lambda m: m._tuple(1),
  0x86: lambda m: m._tuple(2),
  0x87: lambda m: m._tuple(3),
  ord("a"): lambda m: m._extend([m._pop()]),
  ord("e"): lambda m: m._extend(m._pop_marked()),
  ord("s"): lambda m: m._update(m._pair()),
  ord("u"): lambda m: m._update(m._pop_marked()),
  ord("q"): lambda m: m._remember(m._number("<B")),
  ord("r"): lambda m: m._remember(m._number("<I")),
  0x8F: lambda m: m._push([]),  # EMPTY_SET
  0x90: lambda m: m._extend(m._pop_marked()),  # ADDITEMS
  0x91: lambda m: m._push(tuple(m._pop_marked())),  # FROZENSET
  0x94: lambda m: m._remember(len(m._memo)),  # MEMOIZE
  ord("h"): lambda m: m._recall(m._number("<B")),
  ord("j"): lambda m: m._recall(m._number("<I")),
  ord("N"): lambda m: m._push(None),
  0x88: lambda m: m._push(True),
  0x89: lambda m: m._push(False),
  ord("K"): lambda m: m._push(m._number("<B")),
  ord("M"): lambda m: m._push(m._number("<H")),
  ord("J"): lambda m: m._push(m._number("<i")),
  ord("G"): lambda m: m._push(m._number(">d")),
  0x8A: Machine._long,
  ord("U"): lambda m: m._push_text("<B"),
  ord("X"): lambda m: m._push_text("<I"),
  0x8C: lambda m: m._push_text("<B"),
  ord("B"): lambda m: m._push(m._take(m._number("<I"))),
  ord("C"): lambda m: m._push(m._take(m._number("<B"))),
  ord("c"): lambda m: m._name(m._line(), m._line()),  # GLOBAL
  ord("i"): Machine._instance,
  0x93: Machine._named_by_stack,  # STACK_GLOBAL
  ord("R"): Machine._reduce,
  0x81: Machine._reduce,  # NEWOBJ: of those we know, it makes the same
  ord("b"): Machine._build,
  ord("Q"): lambda m: m._push(m._rebuild.storage(m._pop())),
}
