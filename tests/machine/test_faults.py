"""What the system refuses is one sentence with path, cause and remedy."""

import errno
import os

import pytest

from bdjax import actions, launch
from bdjax.machine import faults, logs, storage
from bdjax.machine.faults import Fault

LOST = (  # as TensorStore says it
  'RESOURCE_EXHAUSTED: Failed writing: "x": Failed to write 4 bytes to file '
  "11: No space left on device [os_error_code='28']"
)


def refuse(number):
  def call(*args, **options):
    raise OSError(number, os.strerror(number))

  return call


def test_a_full_disk_is_said_and_keeps_what_is_there(tmp_path, monkeypatch):
  log = tmp_path / "results.jsonl"
  logs.append(log, b"one\n", key="a")
  for write in (refuse(errno.ENOSPC), lambda descriptor, lines: 1):
    with monkeypatch.context() as patch, pytest.raises(Fault) as caught:
      patch.setattr(os, "write", write)
      logs.append(log, b"two\n", key="b")
    assert str(caught.value) == (
      f"cannot write {log} (No space left on device): free some space there"
    )
  logs.append(log, b"three\n", key="c")
  assert log.read_bytes() == b"one\nthree\n"


@pytest.mark.parametrize(
  ("number", "remedy"),
  [
    (errno.EROFS, "(Read-only file system): give a folder that may be written"),
    (errno.EACCES, "(Permission denied): allow it, or give another folder"),
    (errno.EIO, "(Input/output error): see to the disk or the network"),
  ],
)
def test_a_folder_that_refuses_is_said(tmp_path, monkeypatch, number, remedy):
  path = tmp_path / "file"
  storage.write(path, "old")
  monkeypatch.setattr(os, "replace", refuse(number))
  with pytest.raises(Fault) as caught:
    storage.write(path, "new")
  assert str(caught.value) == f"cannot write {path} {remedy}"
  assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_what_tensorstore_says_of_the_system_is_a_fault(tmp_path):
  with pytest.raises(Fault, match="No space left on device.: free some space"):
    with faults.faults(tmp_path, "write"):
      raise ValueError(LOST)
  with pytest.raises(ValueError, match="^of the method$"):
    with faults.faults(tmp_path, "write"):
      raise ValueError("of the method")


def test_a_fault_has_a_status_of_its_own(tmp_path, capsys):
  path = str(tmp_path / ("x" * 300))
  assert launch.main(["launch", "report", path]) == faults.STATUS == 74
  assert capsys.readouterr().err == (
    f"error: cannot read {path} (File name too long): give a shorter path.\n"
  )


def test_a_run_says_that_it_continues(monkeypatch, capsys, tmp_path):
  def run(given):
    raise Fault(tmp_path, "write", OSError(errno.ENOSPC, "full"))

  monkeypatch.setattr(actions, "run", run)
  assert launch.main(["launch", "run"]) == 74
  said = capsys.readouterr().err
  assert said.count("\n") == 1 and "the same command continues" in said
