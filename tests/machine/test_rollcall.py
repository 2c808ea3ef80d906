"""Processes of one run, here threads, say who they are before they meet."""

import socket
import threading

import pytest

from bdjax import launch
from bdjax.machine import hosts, losses, rollcall
from bdjax.machine.rollcall import Caller


class Said(str):
  """What a process is told, and whether another start may help."""

  missing = False


@pytest.fixture
def port():
  with socket.socket() as probe:
    probe.bind(("localhost", 0))
    return probe.getsockname()[1]


def answers(port, callers, patience=30.0, rules=rollcall.BY_HAND):
  """Returns what each process is told; None where all are there."""
  rules = rules._replace(patience=patience)
  verdicts = [None] * len(callers)

  def answer(i):
    try:
      rollcall.answer(f"localhost:{port}", Caller(*callers[i]), rules)
    except ValueError as error:
      verdicts[i] = Said(str(error))
      verdicts[i].missing = isinstance(error, rollcall.Missing)

  threads = [threading.Thread(target=answer, args=[i]) for i in range(3)]
  threads = threads[: len(callers)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  return verdicts


def test_all_who_are_there_go_on(port):
  assert answers(port, [(3, 2), (3, 0), (3, 1)]) == [None] * 3
  assert answers(port, [(3, 0), (3, 1), (3, 2)]) == [None] * 3  # it is free


def test_who_is_missing_is_named_to_all(port):
  wanted = "only 2 of 3 processes have come, not process 1: start all of them"
  for verdict in answers(port, [(3, 0), (3, 2)], patience=1.0):
    assert verdict.startswith(wanted) and verdict.missing


def test_who_is_missing_in_a_cluster_is_looked_for_in_its_log(port):
  by_cluster = {"patience": 1.0, "rules": rollcall.BY_CLUSTER}
  wanted = "only 1 of 2 processes have come, not process 1: see in its log why"
  (verdict,) = answers(port, [(2, 0)], **by_cluster)
  assert verdict.startswith(wanted)
  (verdict,) = answers(port, [(2, 1)], **by_cluster)
  assert f"process 0 is not at localhost:{port}: see in its log why" in verdict


def test_a_cluster_may_name_its_first_machine_late(port, monkeypatch):
  connect, asked = socket.create_connection, []

  def late(address, timeout):
    asked.append(address)
    if len(asked) < 3:
      raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return connect(address, timeout=timeout)

  monkeypatch.setattr(socket, "create_connection", late)
  by_cluster = {"rules": rollcall.BY_CLUSTER}
  assert answers(port, [(2, 0), (2, 1)], **by_cluster) == [None] * 2
  assert len(asked) >= 3


def test_two_of_one_number_are_refused(port):
  verdicts = answers(port, [(3, 0), (3, 1), (3, 1)])
  assert all("two processes have --process_id=1" in v for v in verdicts)
  assert not any(v.missing for v in verdicts)


def test_two_first_processes_want_one_port(port):
  verdicts = answers(port, [(2, 0), (2, 0)], patience=1.0)
  assert sorted(v[:6] for v in verdicts) == ["cannot", "only 1"]
  (busy,) = (v for v in verdicts if v.startswith("cannot"))
  assert f"port {port} (Address already in use): give --coordinator" in busy


def test_all_count_alike(port):
  for verdict in answers(port, [(2, 0), (3, 1)]):
    assert "process 0 has --processes=2, but process 1 has --processes=3" in (
      verdict
    )


def test_a_first_process_that_never_comes_is_said_so(port):
  (verdict,) = answers(port, [(2, 1)], patience=0.3)
  assert verdict.startswith(f"process 0 is not at localhost:{port}: start all")
  assert verdict.missing


def test_strangers_are_not_counted(port):
  def call():
    with socket.create_connection(("localhost", port), timeout=1) as line:
      line.sendall(b"GET / HTTP/1.0\r\n\r\n")
      assert line.recv(1) == b""

  stranger = threading.Timer(0.3, call)
  stranger.start()
  (verdict,) = answers(port, [(2, 0)], patience=1.0)
  stranger.join()
  assert verdict.startswith("only 1 of 2 processes")


def test_another_program_at_the_port_is_no_first_process():
  with socket.create_server(("localhost", 0)) as server:
    port = server.getsockname()[1]

    def speak():
      line, _ = server.accept()
      with line:
        line.recv(64)
        line.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")

    thread = threading.Thread(target=speak)
    thread.start()
    (verdict,) = answers(port, [(2, 1)])
    thread.join()
  assert verdict.startswith(f"process 0 has not answered at localhost:{port}")


@pytest.mark.parametrize(
  ("address", "caller", "text"),
  [
    ("nowhere.invalid:7", (2, 1), "the host 'nowhere.invalid', which is unkno"),
    ("localhost", (2, 0), "--coordinator is 'localhost', but must be HOST:PO"),
    ("localhost:0", (2, 0), "must be HOST:PORT"),
    ("localhost:65536", (2, 0), "must be HOST:PORT"),
    ("localhost:x", (2, 1), "must be HOST:PORT"),
    ("http://localhost:7", (2, 1), "must be HOST:PORT"),
    (":7", (2, 1), "must be HOST:PORT"),
    ("localhost:7", (2, 2), "--process_id is 2 of --processes=2: give 0 to 1"),
  ],
)
def test_what_cannot_be_is_refused_at_once(address, caller, text):
  with pytest.raises(ValueError, match=text):
    rollcall.answer(address, Caller(*caller))


@pytest.mark.parametrize(
  ("pod", "rules"),
  [("0", rollcall.BY_JOB), (None, rollcall.BY_HAND)],
)
def test_pods_of_a_job_wait_as_long_as_a_cluster_does(monkeypatch, pod, rules):
  asked = []
  monkeypatch.delenv("JOB_COMPLETION_INDEX", raising=False)
  if pod is not None:
    monkeypatch.setenv("JOB_COMPLETION_INDEX", pod)
  monkeypatch.setattr(rollcall, "answer", lambda *args: asked.append(args[2]))
  monkeypatch.setattr(hosts, "_meet", lambda place: True)
  assert hosts.join(hosts.Place("bdjax-0:1234", 2, 0))
  assert asked == [rules] and rollcall.BY_JOB.patience > 60


def test_who_has_not_come_is_another_status_than_what_cannot_be(monkeypatch):
  monkeypatch.setattr(losses, "several", lambda: False)
  assert launch._failed(rollcall.Missing("only 1 of 2"), "run") == losses.LOST
  assert launch._failed(ValueError("no such port"), "run") == 2
