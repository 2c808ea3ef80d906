"""A lock keeps others out as long as its owner lives, here or elsewhere."""

import errno
import fcntl
import json
import os
import socket
import threading
import time

import pytest

from bdjax.machine import locks, preemption
from bdjax.machine.faults import Fault

PATIENCE = 60  # seconds; far more than needed
ELSEWHERE = {"host": "elsewhere", "pid": 7, "since": "long ago"}


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
  monkeypatch.setattr(locks, "PAUSE", 0.01)
  monkeypatch.setattr(locks, "BEAT", 0.01)


@pytest.fixture
def path(tmp_path):
  return tmp_path / "lock"


def take(path):
  with locks.only(path, "the workdir w"):
    assert json.loads(path.read_text())["pid"] == os.getpid()


def test_one_at_a_time(path):
  with locks.only(path, "the workdir w"):
    said = f"w is in use by process {os.getpid()} on {socket.gethostname()} si"
    with pytest.raises(ValueError, match=said):
      take(path)
  assert not path.exists()
  take(path)


def test_a_run_may_go_elsewhere_and_a_reader_may_copy(path):
  with locks.only(path, "w"):
    with pytest.raises(ValueError, match="end, or give another --workdir.$"):
      take(path)
    with pytest.raises(ValueError, match="to end, or copy the folder.$"):
      with locks.reading():
        take(path)


def test_who_leaves_at_once_leaves_no_lock(path, monkeypatch):
  notice = preemption.Notice(lambda status: None)
  monkeypatch.setattr(locks, "NOTICE", notice)
  with locks.only(path, "w"):
    assert path.exists()
    notice._leave()
    assert not path.exists()
  with locks.reserved(path, "w"):
    path.write_text("another's")
    notice._leave()
    assert path.read_text() == "another's"
  path.unlink()
  notice._leave()  # holds none any more


def test_what_a_dead_process_has_left_is_taken_over(path, caplog):
  path.write_text(json.dumps(ELSEWHERE | {"host": socket.gethostname()}))
  take(path)
  (said,) = caplog.messages
  assert "was left by process 7 on" in said and "it is taken over" in said


def test_an_owner_elsewhere_that_is_silent_is_waited_for(
  path, caplog, monkeypatch
):
  def silent(seconds):
    monkeypatch.setattr(locks, "SILENCE", 0.0)

  monkeypatch.setattr(locks.time, "sleep", silent)
  path.write_text(json.dumps(ELSEWHERE))
  take(path)
  said = caplog.messages
  assert "waiting for the workdir w" in said[0] and "on elsewhere" in said[0]
  assert "was left by process 7 on elsewhere since long ago" in said[1]


@pytest.mark.parametrize("known", [True, False])
def test_an_owner_that_goes_on_touching_its_file_is_alive(
  path, monkeypatch, known
):
  """So it is on disks that do not pass locks on, or know none at all."""
  path.write_text(json.dumps(ELSEWHERE))
  if not known:
    monkeypatch.setattr(fcntl, "flock", unknown)
    path.write_text(json.dumps(ELSEWHERE | {"host": socket.gethostname()}))
  done = threading.Event()

  def touch():
    while not done.wait(0.01):
      os.utime(path)

  thread = threading.Thread(target=touch)
  thread.start()
  try:
    with pytest.raises(ValueError, match="is in use by process 7"):
      take(path)
  finally:
    done.set()
    thread.join()


def unknown(descriptor, operation):
  raise OSError(errno.ENOLCK, "No locks available")


def test_an_owner_touches_its_file(path):
  with locks.only(path, "w"):
    os.utime(path, (0, 0))
    until = time.monotonic() + PATIENCE
    while not path.stat().st_mtime and time.monotonic() < until:
      time.sleep(0.01)
    assert path.stat().st_mtime


def test_a_reservation_is_waited_for(path):
  order = []

  def second():
    with locks.reserved(path, "model m"):
      order.append("second")

  with locks.reserved(path, "model m"):
    thread = threading.Thread(target=second)
    thread.start()
    time.sleep(0.1)
    order.append("first")
  thread.join(PATIENCE)
  assert order == ["first", "second"] and not path.exists()


@pytest.mark.parametrize("other", [None, "another's"])
def test_a_lock_that_is_lost_is_known(path, other):
  with locks.only(path, "w") as lock:
    lock.check()
    path.unlink()
    if other:
      path.write_text(other)
    with pytest.raises(Fault, match="was removed meanwhile"):
      lock.check()
  assert path.exists() == bool(other)
