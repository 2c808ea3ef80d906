"""SIGTERM ends a process in time, with its own status, wherever it is."""

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
import sys, time
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


def test_without_anything_to_save_a_process_leaves_at_once():
  sleeps = f"""
print("{READY}", flush=True)
time.sleep({2 * PATIENCE})
"""
  code, _, said = end(sleeps)
  assert code == preemption.STATUS == 75
  assert said == "stopped by SIGTERM; give the same command again.\n"


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


def test_work_that_is_saved_in_time_ends_by_itself():
  works = f"""
with notice.grace({2 * PATIENCE}):
  print("{READY}", flush=True)
  while not notice.came():
    time.sleep(0.01)
raise SystemExit(notice.say(preemption.SAVED))
"""
  code, _, said = end(works)
  assert code == preemption.STATUS
  assert said == f"stopped by SIGTERM; {preemption.SAVED}\n"


def test_ctrl_c_is_what_it_was():
  # As in a terminal: what starts the tests may have it ignored.
  sleeps = f"""
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
  print("{READY}", flush=True)
  time.sleep({2 * PATIENCE})
except KeyboardInterrupt:
  raise SystemExit(130 + notice.came())
"""
  assert end(sleeps, signal.SIGINT)[0] == 130


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
  threading.Thread(target=one._leave_in, args=[0.2], daemon=True).start()
  assert left.wait(PATIENCE) and other.came()
  assert 0 <= board[0] <= 0.2  # what is left of the time when others are told


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
