"""A signal ends a process in time, with its own status, wherever it is."""

import signal
import subprocess
import sys
import threading

import jax.numpy as jnp
import pytest

from bdjax.machine import preemption
from bdjax.training import checkpoint

PATIENCE = 60  # seconds; far more than needed
LISTENS = """
import signal, sys, time
# As in a terminal: what starts the tests may have some ignored.
for number in (signal.SIGINT, signal.SIGHUP):
  signal.signal(number, signal.SIG_DFL)
from bdjax.machine import preemption

notice = preemption.NOTICE
notice.listen()
notice.alone()
"""
READY = "ready"


def end(text, number=signal.SIGTERM):
  """Signals a program once it is ready; returns its status and last words."""
  process = subprocess.Popen(
    [sys.executable, "-c", LISTENS + text],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  assert process.stdout.readline() == f"{READY}\n"
  process.send_signal(number)
  out, said = process.communicate(timeout=PATIENCE)
  return process.returncode, out, said


def test_it_imports_no_jax():
  code = f"""
assert "jax" not in sys.modules
print("{READY}", flush=True)
"""
  assert end(code, signal.SIGCONT)[0] == 0


SIGNALS = pytest.mark.parametrize(
  ("number", "status"),
  [(signal.SIGTERM, 75), (signal.SIGINT, 130), (signal.SIGHUP, 129)],
)
SLEEPS = f"""
print("{READY}", flush=True)
time.sleep({2 * PATIENCE})
"""


@SIGNALS
def test_without_anything_to_save_a_process_leaves_at_once(number, status):
  code, _, said = end(SLEEPS, number)
  assert code == status
  assert said == f"stopped by {number.name}; give the same command again.\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_user_waits_for_no_start(number):
  code, _, said = end("notice._grace = 1e9\n" + SLEEPS, number)
  assert code == preemption.STATUSES[number]
  assert said == f"stopped by {number.name}; {preemption.AGAIN}\n"


def test_what_is_ignored_from_the_start_stays_so():
  code = f"""
signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as by nohup
notice.listen()
print("{READY}", flush=True)
time.sleep(0.5)
"""
  assert end(code, signal.SIGHUP) == (0, "", "")


def test_ctrl_c_again_leaves_at_once():
  waits = f"""
preemption.ONCE = 0
with notice.grace({2 * PATIENCE}):
  print("{READY}", flush=True)
  while not notice.came():
    time.sleep(0.01)
  signal.raise_signal(signal.SIGINT)
  time.sleep({2 * PATIENCE})
"""
  code, _, said = end(waits, signal.SIGINT)
  assert code == 130
  assert said.splitlines() == [
    "saving; Ctrl-C again leaves at once.",
    f"stopped by SIGINT; {preemption.KEPT}",
  ]


def test_a_main_thread_that_runs_no_python_is_ended_after_its_grace():
  waits = f"""
import ctypes, os
heard, told = os.pipe()
with notice.grace(0.2):
  print("{READY}", flush=True)
  while True:  # in C nearly always, where Python handles no signals
    ctypes.CDLL(None).read(heard, ctypes.create_string_buffer(1), 1)
"""
  code, _, said = end(waits)
  assert code == preemption.STATUS
  assert said == f"stopped by SIGTERM; {preemption.KEPT}\n"


@SIGNALS
def test_work_that_is_saved_in_time_ends_by_itself(number, status):
  works = f"""
with notice.grace({2 * PATIENCE}):
  print("{READY}", flush=True)
  while not notice.came():
    time.sleep(0.01)
raise SystemExit(notice.say(preemption.SAVED))
"""
  code, _, said = end(works, number)
  assert code == status
  assert said.endswith(f"stopped by {number.name}; {preemption.SAVED}\n")


@pytest.fixture
def members(monkeypatch):
  """Returns two processes of a run that tell each other, and what they said."""
  monkeypatch.setattr(preemption, "BEAT", 0.01)
  board, left = [], threading.Event()
  notices = [preemption.Notice(lambda status: left.set()) for _ in range(2)]
  for notice in notices:
    notice.share(board.append, lambda: next(iter(board), None), last=False)
  return notices, board, left


def test_a_notice_to_one_process_ends_all_at_one_time(members):
  (one, other), board, left = members
  assert not other.came()
  threading.Thread(target=one._leave_in, args=(2, 0.2), daemon=True).start()
  assert left.wait(PATIENCE) and other.came()
  number, seconds = board[0]  # what is left of the time when others are told
  assert number == signal.SIGINT and 0 <= seconds <= 0.2


@pytest.fixture
def told(monkeypatch):
  """Has a notice come to this process."""
  notice = preemption.Notice()
  notice._came.set()
  monkeypatch.setattr(checkpoint, "NOTICE", notice)


def test_a_stage_is_saved_at_once_when_a_notice_has_come(tmp_path, told):
  stages = checkpoint.Stages(tmp_path, every_seconds=1e9)
  state = {"weight": jnp.arange(3.0)}
  with pytest.raises(preemption.Stopped):
    stages.save("train", state, [{"loss": 1.0}], last=False)
  found, rows = stages.restore("train", state)
  assert found["weight"].tolist() == [0, 1, 2] and rows == [{"loss": 1.0}]


def test_without_a_notice_it_waits_for_its_time(tmp_path):
  stages = checkpoint.Stages(tmp_path, every_seconds=1e9)
  stages.save("train", {"weight": jnp.zeros(3)}, [{"loss": 1.0}], last=False)
  assert stages.restore("train", {"weight": jnp.zeros(3)}) is None
