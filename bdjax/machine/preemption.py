"""A notice that the process must end soon: SIGTERM, SIGINT or SIGHUP.

Spot and preemptible machines, SLURM before a time limit and Kubernetes send
SIGTERM, and kill some 30 seconds later; Ctrl-C sends SIGINT, a terminal that is
closed SIGHUP. A run then goes on to the next place where its work can be saved,
the end of an epoch as a rule, saves and leaves; if no such place comes in time,
or Ctrl-C is pressed again, it leaves without, and what was saved before stays.
The status of SIGTERM, that of a temporary failure, tells a scheduler to start
it again; those of the others are a shell's.

The main thread may be deep in a compilation or an epoch, where Python runs no
signal handlers; hence a thread waits for the notice and minds the time. JAX has
a notifier of its own, but it says nothing before a program's next step, which
may be too late, and takes the signal from who could: `hosts` turns it off.
Nothing here imports JAX, which takes seconds: a notice then is heeded too.
"""

import atexit
import contextlib
import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

STATUS = 75  # exit status: EX_TEMPFAIL of sysexits.h
STATUSES = {signal.SIGTERM: STATUS, signal.SIGINT: 130, signal.SIGHUP: 129}
ONCE = 1.0  # seconds in which several SIGINTs are one: wrappers repeat it
GRACE = 20.0  # seconds; Kubernetes, SLURM and spot machines kill after 30
BEAT = 0.5  # seconds between looks for a notice to another process
SAVED = "what was trained is saved, and the same command continues."
KEPT = "what was saved last is kept, and the same command continues."
AGAIN = "give the same command again."
Message = tuple[int, float]  # a signal, and in how many seconds all will leave


class Stopped(BaseException):
  """A notice has come, and all that can be saved is saved."""


class Notice:
  """Whether a notice has come to this process, or another of its run."""

  def __init__(self, leave: Callable[[int], None] = os._exit):
    """Waits for nothing yet.

    Args:
      leave: ends the process with a status, whatever its threads do.
    """
    self._came, self._number = threading.Event(), int(signal.SIGTERM)
    self._exit, self._rest = leave, AGAIN
    self._last: list[Callable[[], None]] = []
    self._grace, self._others, self._end = 0.0, 0.0, 0.0

  def came(self) -> bool:
    """Returns whether it has come."""
    return self._came.is_set()

  def listen(self) -> None:
    """Takes signals from now on; to be called by the main thread.

    Those that the process was started to ignore, as by nohup, stay ignored.
    Until `alone` a SIGTERM has a grace even where there is nothing to save:
    others would wait for the process, to meet it or for its part of the work.
    """
    self._grace = GRACE
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in STATUSES:
      if signal.getsignal(number) != signal.SIG_IGN:
        signal.signal(number, lambda number, frame: None)
    threading.Thread(target=self._heed, args=[reader], daemon=True).start()

  def _heed(self, heard: int) -> None:
    """Has the process leave on a signal, and at once on another Ctrl-C."""
    first = None
    while True:
      for number in set(os.read(heard, 64)) & set(STATUSES):
        if first is None:
          first = time.monotonic()
          saving = self._rest == KEPT
          seconds = self._grace if saving or number == signal.SIGTERM else 0.0
          leave = functools.partial(self._leave_in, number, seconds)
          threading.Thread(target=leave, daemon=True).start()
          if saving and number == signal.SIGINT:
            print("saving; Ctrl-C again leaves at once.", file=sys.stderr)
        elif number == signal.SIGINT and time.monotonic() - first > ONCE:
          self._leave()

  def alone(self) -> None:
    """Has the process leave at once where it has nothing to save."""
    self._grace = 0.0

  def share(
    self,
    tell: Callable[[Message], None],
    hear: Callable[[], Message | None],
    *,
    last: bool,
  ) -> None:
    """Passes the notice on to the other processes of a run, and takes theirs.

    Args:
      tell: tells the others.
      hear: returns what another has told, or None.
      last: this process is to end after the others, who depend on it.
    """
    # A notice has reached all after two beats, and they leave after two more.
    self._others = (8 if last else 2) * BEAT
    done = threading.Event()

    def watch():
      while not done.wait(BEAT):
        if self.came():
          return tell((self._number, max(0.0, self._end - time.monotonic())))
        if (notice := hear()) is not None:
          number, seconds = notice
          return self._leave_in(number, seconds)

    def end():  # a thread of Python must not be in JAX when Python ends
      done.set()
      thread.join(BEAT)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    atexit.register(end)

  @contextlib.contextmanager
  def grace(self, seconds: float) -> Iterator[None]:
    """Has the process so long to save its work in, while the block runs."""
    idle, self._grace, self._rest = self._grace, seconds, KEPT
    try:
      yield
    finally:
      self._grace, self._rest = idle, AGAIN

  def wait(self) -> None:
    """Waits for the end that a notice brings: others may depend on this one."""
    threading.Event().wait()

  def say(self, rest: str) -> int:
    """Says that the notice ends the program, and returns its exit status."""
    name = signal.Signals(self._number).name
    print(f"stopped by {name}; {rest}", file=sys.stderr, flush=True)
    return STATUSES[self._number]

  def _leave_in(self, number: int, seconds: float) -> None:
    self._number = number
    self._end = time.monotonic() + seconds
    self._came.set()
    time.sleep(seconds)
    time.sleep(self._others)  # which may have come after the notice
    self._leave()

  def _leave(self) -> None:
    status = self.say(self._rest)
    for do in [*self._last]:
      with contextlib.suppress(OSError):
        do()
    self._exit(status)

  @contextlib.contextmanager
  def at_last(self, do: Callable[[], None]) -> Iterator[None]:
    """Has something done before the process leaves at once, during the block.

    Args:
      do: takes little time, and may come while the block does anything.
    """
    self._last.append(do)
    try:
      yield
    finally:
      self._last.remove(do)


NOTICE = Notice()  # the process's
