"""Pickles that mean harm, or make no sense, in sound PyTorch files.

Each is a function: (folder) -> the file's bytes. What would run leaves a file
named was_run in the folder.
"""

import os
import pickle
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import forging as f
import numpy as np

Maker = Callable[[Path], bytes]
MILLION = 10**6
WEIGHTS = {"conv1.weight": np.ones((4, 3, 3, 3), np.float32)}


class Runs:
  """Asks to be unpickled by a call."""

  def __init__(self, function, *arguments):
    self._call = function, arguments

  def __reduce__(self):
    return self._call


def command(at: Path) -> str:
  return f"touch {at / 'was_run'}"


def program(at: Path) -> str:
  return f"open({str(at / 'was_run')!r}, 'w').close()"


def shell(protocol: int) -> Maker:
  def make(at):
    evil = {"model": Runs(os.system, command(at))}
    return f.bare(pickle.dumps(evil, protocol))

  return make


def calls(function, arguments) -> Maker:
  """Returns a maker of a file that calls a function at loading."""

  def make(at):
    return f.bare(pickle.dumps(Runs(function, *arguments(at)), 3))

  return make


def names(module: str, name: str) -> Maker:
  """Returns a maker of a file whose weights are what a name returns."""

  def make(at):
    evil = f.Call(f.Global(module, name), (command(at),))
    return f.checkpoint({"model": {"conv1.weight": evil}})

  return make


def beside_weights(at: Path) -> bytes:
  evil = f.Call(f.Global("os", "system"), (command(at),))
  return f.saved({"model": WEIGHTS, "optimizer": evil})


def beside_counter(at: Path) -> bytes:
  counter = f.Call(f.Global("collections", "Counter"), ({3: 1},))
  evil = f.Call(f.Global("posix", "system"), (command(at),))
  return f.saved({"model": WEIGHTS, "scheduler": [counter, evil]})


def as_storage(at: Path) -> bytes:
  evil = f.encode(("os.system", command(at))) + b"Q"
  return f.checkpoint({"model": f.Code(evil)})


def code(raw: bytes) -> Maker:
  return lambda at: f.bare(raw)


def inner(raw: bytes) -> Maker:
  return lambda at: f.checkpoint({"model": f.Code(raw)})


def value(one) -> Maker:
  return lambda at: f.checkpoint({"model": one})


def dtype(kind: str, state: tuple) -> f.Call:
  return f.Call(f.Global("numpy", "dtype"), (kind, False, True), state)


def numbered(count: int) -> bytes:
  return b"".join(b"r" + struct.pack("<I", i) for i in range(count))


def wide_text() -> bytes:
  raw = b"a" * 8 * MILLION + "\U0001f600".encode()
  return b"X" + struct.pack("<I", len(raw)) + raw


def doubling() -> bytes:
  return b"K\7\x85" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(60))


def array_of(size: tuple, raw: bytes) -> f.Call:
  """Returns a numpy array's pickle, whose size need not fit its bytes."""
  start = (f.Global("numpy", "ndarray"), (0,), f.Code(b"C\1b"))
  text = f.Call(f.Global("_codecs", "encode"), (raw.decode("latin1"), "latin1"))
  kind = dtype("f8", (3, "<", None, None, None, -1, -1, 0))
  name = f.Global("numpy._core.multiarray", "_reconstruct")
  return f.Call(name, start, (1, size, kind, False, text))


def described_by_array(at: Path) -> bytes:
  """Returns a file of a storage that has an array where None may stand."""
  kind, array = (
    f.Global("torch", "FloatStorage"),
    f.tensor("FloatStorage", "0", 2),
  )
  parts = ("storage", kind, "1", "cpu", 2, array)
  storages = {"0": bytes(8), "1": bytes(8)}
  return f.checkpoint({"model": f.Code(f.encode(parts) + b"Q")}, storages)


RUNS = {
  **{f"os.system, pickle protocol {n}": shell(n) for n in (2, 3, 4, 5)},
  "subprocess.check_call": calls(
    subprocess.check_call, lambda at: (command(at).split(),)
  ),
  "subprocess.Popen": calls(
    subprocess.Popen, lambda at: (command(at).split(),)
  ),
  "eval": calls(eval, lambda at: (program(at),)),
  "exec": calls(exec, lambda at: (program(at),)),
  "__import__": calls(__import__, lambda at: ("this",)),
  "getattr": calls(getattr, lambda at: ("", "join")),
  "os.system beside sound weights": beside_weights,
  "os.system as a storage": as_storage,
  "a weight from webbrowser.open": names("webbrowser", "open"),
  "a weight from torch.hub.load": names("torch.hub", "load"),
  "a weight from torch.load": names("torch", "load"),
  "a weight from numpy.load": names("numpy", "load"),
  "a weight from runpy.run_path": names("runpy", "run_path"),
  "a dotted way to a function's globals": names(
    "torch._utils", "_rebuild_tensor_v2.__globals__"
  ),
  "a name with terminal codes": names("os", "\x1b[31m\u202esystem"),
  "a name of 5,000 letters": names("os", "x" * 5_000),
  "a pickled model": code(b"\x80\2cmodels.preact\nPreActResNet18\n)\x81}b."),
  "instruction INST": code(b"(X\2\0\0\0idios\nsystem\n."),
  "instruction OBJ": code(b"\x80\2(cos\nsystem\nX\2\0\0\0ido."),
  "instruction NEWOBJ": code(b"\x80\2cos\nsystem\n)\x81."),
  "instruction STACK_GLOBAL": code(b"\x80\4\x8c\2os\x8c\6system\x93."),
  "instruction EXT1": code(b"\x80\2\x82\1."),
  "instruction PERSID": code(b"\x80\2Pos.system\n."),
  "attributes set on a class": code(
    b"\x80\2ccollections\nOrderedDict\n}X\1\0\0\0xK\1sb."
  ),
  "os.system beside a counter": beside_counter,
  "a namespace of os.system": value(
    f.Made(
      f.Global("argparse", "Namespace"),
      {"a": f.Call(f.Global("os", "system"), ("true",))},
    )
  ),
  "a default of os.system": value(
    f.Call(f.Global("collections", "defaultdict"), (f.Global("os", "system"),))
  ),
  "a tensor of a type from os.system": value(
    f.Call(
      f.Global("torch._tensor", "_rebuild_from_type_v2"),
      (f.Global("os", "system"), None, ("true",), None),
    )
  ),
  "a codec that is none": value(
    f.Call(f.Global("_codecs", "encode"), ("a", "rot13"))
  ),
}
SENSELESS = {
  "no pickle": code(b""),
  "a pickle without an end": code(b"\x80\2}"),
  "an instruction of no protocol": code(b"\x80\2\xff."),
  "a stack that is empty": code(b"\x80\2a."),
  "a mapping with half a pair": code(b"\x80\2}(Nu."),
  "a list as a key": inner(b"}]Ns"),
  "a key of 2000 bits": inner(b"}\x8a\xff" + b"\1" * 255 + b"Ns"),
  "text that is cut off": inner(b"X\xff\xff\xff\xffa"),
  "text that is not UTF-8": inner(b"X\1\0\0\0\xff"),
  "what was never remembered": inner(b"h\7"),
  "a type of Python objects": value(dtype("O8", (3, "|", None))),
  "a set of a number": value(f.Call(f.Global("builtins", "set"), (7,))),
  "a counter of a list": value(
    f.Call(f.Global("collections", "Counter"), ([1],))
  ),
  "a size of a text": value(f.Call(f.Global("torch", "Size"), ("ab",))),
  "a tensor of a type that is a kind of number": value(
    f.Call(
      f.Global("torch._tensor", "_rebuild_from_type_v2"),
      (f.Global("torch", "float32"), None, (), None),
    )
  ),
  "a kind of number that is called": value(
    f.Call(f.Global("torch", "float32"), ())
  ),
  "a list that is called": value(f.Call(f.Global("builtins", "list"), ([],))),
  "bytes(10 ** 12)": value(f.Call(f.Global("builtins", "bytes"), (10**12,))),
  "an array that describes a storage": described_by_array,
  "an array larger than its bytes": value(array_of((2**40,), bytes(8))),
}
GREEDY = {
  "100,000 tuples deep": inner(b")" + b"\x85" * 10**5),
  "100,000 lists deep": inner(b"]" * 10**5 + b"a" * (10**5 - 1)),
  "a list that contains itself": inner(b"]q\1h\1a"),
  "a value doubled 60 times": inner(doubling()),
  "a million lists": inner(b"](" + b"]" * MILLION + b"e"),
  "a million mappings": inner(b"](" + b"}" * MILLION + b"e"),
  "a million sets": inner(b"](" + b"\x8f" * MILLION + b"e"),
  "a million namespaces": inner(
    b"](" + b"cargparse\nNamespace\n)\x81" * 300_000 + b"e"
  ),
  "a million marks": code(b"\x80\2" + b"(" * MILLION + b"."),
  "a million tuples of one": inner(b"](" + b"K\1\x85" * MILLION + b"e"),
  "a million memories": inner(b"N" + numbered(MILLION)),
  "8 MB of text and one wide letter": inner(wide_text()),
  "a text encoded 500 times": inner(
    b"]("
    + f.encode("x" * MILLION)
    + b"q\1"
    + (b"c_codecs\nencode\nh\1" + f.encode("latin1") + b"\x86R") * 500
    + b"e"
  ),
  "33 MiB of instructions": code(b"\x80\2" + b"N" * 33 * 2**20),
}
SLOW = {"4 million instructions": code(b"\x80\2" * 4_100_000)}
