"""Pickles that mean harm: refused in one sentence, and nothing is ever run."""

import ast
import os
import pickle
import subprocess
from pathlib import Path

import pytest

from bdjax.interop import _machine, archive, refusals, tensors


class Runs:
  """Asks to be unpickled by running a command."""

  def __init__(self, function, *arguments):
    self._call = function, arguments

  def __reduce__(self):
    return self._call


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
  ("function", "name"),
  [
    (os.system, f"{os.system.__module__}.system"),
    (subprocess.check_call, ".check_call"),
    (eval, "eval"),
    (getattr, "getattr"),
  ],
)
def test_code_is_refused_by_name_and_not_run(
  forge, put, tmp_path, function, name, protocol, refusal
):
  sentinel = tmp_path / "was_run"
  evil = Runs(function, f"touch {sentinel}")
  code = pickle.dumps({"model": evil}, protocol)
  path = put(forge.bare(code))
  with pytest.raises(refusals.UnsafeFile, match=name):
    tensors.read(path)
  assert "torch.save(model.state_dict()" in refusal(path)
  assert not sentinel.exists()


def test_the_sentinel_would_appear(tmp_path):
  sentinel = tmp_path / "was_run"
  pickle.loads(pickle.dumps(Runs(os.system, f"touch {sentinel}"), 2))
  assert sentinel.exists()


@pytest.mark.parametrize(
  "code",
  [
    b"(S'id'\nios\nsystem\n.",
    b"(ios\nsystem\n.",
    b"cos\nsystem\n(X\x02\0\0\0idtR.",
    b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.",
    b"\x80\x02(cos\nsystem\nX\x02\0\0\0ido.",
    b"\x80\x02cos\nsystem\n)\x81.",
    b"\x80\x02\x82\x01.",
  ],
)
def test_every_way_to_call_is_refused(forge, put, code, refusal):
  said = refusal(put(forge.bare(code)))
  assert "posix.system" in said or "os.system" in said or "instruction" in said


@pytest.mark.parametrize(
  "code",
  [
    # attributes set on a name we know, on a storage's kind, on numpy's type
    b"\x80\x02ccollections\nOrderedDict\n}X\x01\0\0\0xK\x01sb.",
    b"\x80\x02ctorch\nFloatStorage\nN}X\x01\0\0\0xK\x01s\x86b.",
    b"\x80\x02cnumpy\nndarray\n)R.",
    b"\x80\x02ctorch\nFloatStorage\n)R.",
    b"\x80\x02X\x01\0\0\0a)R.",
    b"\x80\x02K\x01Q.",
  ],
)
def test_names_we_know_are_only_what_we_make_of_them(forge, put, code, refusal):
  assert "damaged" in refusal(put(forge.bare(code)))


def test_pickled_models_are_refused_with_a_remedy(forge, put, refusal):
  code = b"\x80\x02cmodels.preact\nPreActResNet18\n)\x81}b."
  said = refusal(put(forge.bare(code)))
  assert "models.preact.PreActResNet18" in said
  assert "torch.save(model.state_dict(), ...)" in said


def test_names_are_shown_harmlessly(forge, put, refusal):
  name = "\x1b[31m\u202e" + "x" * 5000
  said = refusal(put(forge.checkpoint(forge.Global("os", name))))
  assert r"os.\x1b[31m\u202exxx" in said and "xxx..." in said


@pytest.mark.parametrize(
  "code", [b")" + b"\x85" * 10**5, b"]" * 10**5 + b"a" * 99_999]
)
def test_deep_nesting(forge, put, code, refusal):
  assert "levels deep" in refusal(put(forge.checkpoint(forge.Code(code))))


def test_nesting_that_is_reached_by_a_shorter_way_first(forge, put, refusal):
  code = b"](" + b")" + b"\x85" * 40 + b"q\x01h\x01" + b"\x85" * 40 + b"e"
  assert "levels deep" in refusal(put(forge.checkpoint(forge.Code(code))))


def test_values_that_contain_themselves(forge, put, refusal):
  code = forge.Code(b"]q\x01h\x01a")
  assert "levels deep" in refusal(put(forge.checkpoint(code)))


def test_values_that_double_and_double(forge, put, refusal):
  code = b"]" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(60))
  said = refusal(put(forge.checkpoint(forge.Code(b"K\x07\x85" + code[1:]))))
  assert "repeats itself" in said


def test_endless_pickles(forge, put, monkeypatch, refusal):
  monkeypatch.setattr(_machine, "INSTRUCTIONS", 100)
  value = list(range(200))
  assert "instructions" in refusal(put(forge.checkpoint(value)))
  monkeypatch.setattr(_machine, "CODE", 100)
  assert "bytes" in refusal(put(forge.checkpoint(value)))


@pytest.mark.parametrize(
  "code",
  [
    b"",
    b"\x80",
    b"\x80\x02.",
    b"\x80\x02N",
    b"\x80\x02t.",
    b"\x80\x02(.",
    b"\x80\x02a.",
    b"\x80\x02NNa.",
    b"\x80\x02}Nu.",
    b"\x80\x02}(Nu.",
    b"\x80\x02}]Ns.",
    b"\x80\x02}}Ns.",
    b"\x80\x02}\x8a\xffNs.",
    b"\x80\x02}\x8a\x0e" + bytes(12) + b"\x10\0Ns.",
    b"\x80\x02h\x07.",
    b"\x80\x02X\xff\xff\xff\xffa.",
    b"\x80\x02B\xff\xff\xff\xffa.",
    b"\x80\x02X\x01\0\0\0\xff.",
    b"\x80\x02cnumpy\ndtype.",
    b"\x80\x02\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
    b"\x80\x02r\xff\xff\xff\x7f.",
  ],
)
def test_senseless_pickles(forge, put, code, refusal):
  said = refusal(put(forge.bare(code)))
  assert "damaged" in said or "instruction" in said


def test_numpy_objects_and_odd_states(forge, put, refusal):
  def dtype(code, state):
    name = forge.Global("numpy", "dtype")
    return forge.Call(name, (code, False, True), state)

  for value in (
    dtype("O8", (3, "|", None)),
    dtype("f8", ("<",)),
    forge.Call(forge.Global("_codecs", "encode"), ("\u20ac", "latin1")),
    forge.Call(forge.Global("_codecs", "encode"), ("a", "rot13")),
    forge.Call(forge.Global("builtins", "bytes"), (10**12,)),
    forge.Call(forge.Global("torch._utils", "_rebuild_parameter"), (1,)),
    forge.Call(forge.Global("collections", "OrderedDict"), ([],)),
  ):
    assert "makes no sense" in refusal(put(forge.checkpoint(value)))


def test_archive_alone_refuses_bare_pickles(put):
  with pytest.raises(refusals.Refused, match="bare pickle"):
    archive.load(put(pickle.dumps({})))


def imported(path):
  tree = ast.walk(ast.parse(path.read_text()))
  nodes = [n for n in tree if isinstance(n, (ast.Import, ast.ImportFrom))]
  names = {alias.name for node in nodes for alias in node.names}
  return names | {getattr(node, "module", None) for node in nodes}


def test_nothing_here_can_unpickle_or_extract():
  """But for what writes PyTorch's files, which imports it to save alone."""
  folder = Path(archive.__file__).parent
  for path in folder.glob("*.py"):
    unsafe = {"pickle", "shelve", "marshal", "zipfile", "torch"}
    unsafe -= {"torch"} if path.name == "pytorch.py" else set()
    assert not imported(path) & unsafe
  tree = ast.walk(ast.parse((folder / "pytorch.py").read_text()))
  named = [n for n in tree if isinstance(n, ast.Attribute)]
  of_torch = {n.attr for n in named if getattr(n.value, "id", "") == "torch"}
  assert of_torch == {"save", "tensor"}
