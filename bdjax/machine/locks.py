"""One run at a time: a file beside the work that says who is at it.

The system's own lock on the file (flock) ends with its process, however that
ends. Not all shared disks pass such locks on to other machines, so the owner
also touches its file: on another machine it counts as alive as long as it does.
A bucket knows no such lock; there two runs must be kept apart by their user.
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from bdjax.machine import hosts, notes
from bdjax.machine.faults import Fault, faults
from bdjax.machine.preemption import NOTICE

BEAT = 15.0  # seconds between touches
SILENCE = 120.0  # and without one, after which an owner elsewhere is gone
PAUSE = 0.5  # seconds between looks at a lock that another has
_ELSEWHERE = "give another --workdir."  # what a run can do
_UNKNOWN = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


class Owner(NamedTuple):
  """Who has a lock.

  Attributes:
    who: in words.
    locked: whether the system says so, or only when it was touched last.
    touched: when that was.
  """

  who: str
  locked: bool
  touched: float


class InUse(ValueError):
  """Another run has a lock."""


class Lock:
  """A lock of this process's, or another's."""

  def __init__(self, path: Path) -> None:
    """Takes nothing yet; the file is there only while somebody has it."""
    self._path, self._end = path, threading.Event()
    self._descriptor, self._text = -1, b""

  def take(self) -> Owner | None:
    """Takes the lock, or returns who has it.

    Raises:
      Fault: the file cannot be written.
    """
    with faults(self._path, "write"):
      while True:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        free, sure = _flock(descriptor)
        if not _same(descriptor, self._path):  # its owner has removed it
          os.close(descriptor)
          continue
        text = os.pread(descriptor, 4096, 0)
        owner = _owner(text, not free, os.fstat(descriptor).st_mtime)
        if not free or (text and not (sure and _here(text)) and _fresh(owner)):
          os.close(descriptor)
          return owner
        if text:
          notes.say(f"{self._path} was left by {owner.who}; it is taken over.")
        self._own(descriptor)
        return None

  def _own(self, descriptor: int) -> None:
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    about = {"host": socket.gethostname(), "pid": os.getpid(), "since": now}
    self._text = json.dumps(about).encode() + b"\n"
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, self._text, 0)
    self._descriptor = descriptor

    def touch():
      while not self._end.wait(BEAT):
        with contextlib.suppress(OSError):
          os.utime(descriptor)

    threading.Thread(target=touch, daemon=True).start()

  def check(self) -> None:
    """Raises if the lock is no longer this process's.

    Raises:
      Fault: the file was removed, maybe with its folder, or taken over.
    """
    mine = self._descriptor >= 0 and _same(self._descriptor, self._path)
    if not mine or os.pread(self._descriptor, 4096, 0) != self._text:
      lost = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
      raise Fault(self._path, "keep", lost)

  def release(self) -> None:
    """Gives the lock back, and removes its file."""
    self._end.set()
    self.remove()
    os.close(self._descriptor)
    self._descriptor = -1

  def remove(self) -> None:
    """Removes the lock's file, if it is this process's."""
    with contextlib.suppress(OSError):
      self.check()
      self._path.unlink()


@contextlib.contextmanager
def only(path: Path, what: str) -> Iterator[Lock | None]:
  """Holds a lock while the block runs; refuses if another run has it.

  Of a run's processes the first holds it, for all.

  Args:
    path: of its file.
    what: it stands for, in words.

  Raises:
    InUse: another run has it.
  """
  first: list[Owner] = []

  def alive(owner):
    first.append(owner)
    return owner.locked or owner.touched != first[0].touched

  with _held(_taken(path, alive, what)) as lock:
    yield lock


@contextlib.contextmanager
def reading() -> Iterator[None]:
  """Has whoever only reads a folder that is in use told to copy it.

  Raises:
    ValueError: another run has a lock that is taken in the block.
  """
  try:
    yield
  except InUse as error:
    said = str(error).removesuffix(_ELSEWHERE)
    raise ValueError(f"{said}copy the folder.") from error


@contextlib.contextmanager
def reserved(path: Path, what: str) -> Iterator[None]:
  """Holds a lock while the block runs; waits while another run has it."""
  with _held(_taken(path, lambda owner: False, what)):
    yield


@contextlib.contextmanager
def _held(lock: Lock | None) -> Iterator[Lock | None]:
  """Releases a lock in the end, also where the process leaves at once."""
  if lock is None:
    yield None
    return
  try:
    with NOTICE.at_last(lock.remove):
      yield lock
  finally:
    lock.release()


def _taken(
  path: Path, refuse: Callable[[Owner], bool], what: str
) -> Lock | None:
  lock = Lock(path) if hosts.first() else None
  waiting = False
  while True:
    owner = lock.take() if lock else None
    busy = hosts.agreed(0 if owner is None else 1 + refuse(owner))
    who = owner.who if owner else "another run"
    if not busy:
      return lock
    if busy > 1:
      raise InUse(
        f"{what} is in use by {who}; wait for it to end, or {_ELSEWHERE}"
      )
    if not waiting:
      notes.say(f"waiting for {what}, which is in use by {who}.")
    waiting = True
    hosts.stop_if_told()
    time.sleep(PAUSE)


def _flock(descriptor: int) -> tuple[bool, bool]:
  """Returns whether a lock is free, and whether the system knows."""
  try:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    return False, True
  except OSError as error:
    if error.errno not in _UNKNOWN:
      raise
    return True, False
  return True, True


def _same(descriptor: int, path: Path) -> bool:
  try:
    return os.path.samestat(os.fstat(descriptor), os.stat(path))
  except FileNotFoundError:
    return False


def _owner(text: bytes, locked: bool, touched: float) -> Owner:
  about = _about(text)
  who = "process {pid} on {host} since {since}".format(**about) if about else ""
  return Owner(who or "another run", locked, touched)


def _here(text: bytes) -> bool:
  return _about(text).get("host") == socket.gethostname()


def _fresh(owner: Owner) -> bool:
  return abs(time.time() - owner.touched) < SILENCE


def _about(text: bytes) -> dict[str, Any]:
  """Returns what an owner has written of itself; nothing if it is no such."""
  try:
    about = json.loads(text)
    return {key: about[key] for key in ("host", "pid", "since")}
  except (ValueError, TypeError, KeyError, RecursionError):
    return {}
