"""The processes of a run say who they are before they meet.

JAX aborts without a sentence where one is missing or two are the same. So the
first process listens where JAX will, the others tell it who they are, and when
all are there, or something is wrong, it answers all of them.
"""

import json
import os
import re
import socket
import time
from typing import NamedTuple

_READ = 5.0  # seconds in which one that has come must speak
_MOST = 4096  # bytes of what one says


class Rules(NamedTuple):
  """What differs between processes started by hand and by a cluster.

  Attributes:
    patience: seconds in which all must have come.
    late: what helps if one has not.
    busy: what helps if the port is in use.
    known: whether the first process's host must have a name from the start.
  """

  patience: float
  late: str
  busy: str
  known: bool


BY_HAND = Rules(
  60.0,
  "start all of them within a minute, with the same --coordinator.",
  "give --coordinator another port, the same to all processes.",
  known=True,
)
BY_CLUSTER = Rules(  # which may fetch programs and start machines first
  300.0,
  "see in its log why, and start all of them again.",
  "set JAX_COORDINATOR_PORT to another port, the same for all processes.",
  known=False,
)
BY_JOB = BY_CLUSTER._replace(busy=BY_HAND.busy)  # told where by its wrapper


class Missing(ValueError):
  """Not all processes have come: what helps is to start them again."""


class Caller(NamedTuple):
  """Who a process says it is."""

  processes: int
  process_id: int


def answer(address: str, local: Caller, rules: Rules = BY_HAND) -> None:
  """Returns when all processes are there.

  Args:
    address: HOST:PORT of the first process.
    local: who this process is.
    rules: by which they are awaited.

  Raises:
    ValueError: one sentence: the address cannot be, the port is in use, the
      host is unknown, a process is there twice, or counts otherwise.
    Missing: likewise: a process is missing.
  """
  if not 0 <= local.process_id < local.processes:
    raise ValueError(
      f"--process_id is {local.process_id} of --processes={local.processes}: "
      f"give 0 to {local.processes - 1}, each once."
    )
  parts = re.fullmatch(r"\[?([^\[\]\s/]+?)\]?:(\d{1,5})", address)
  if parts is None or not 0 < int(parts[2]) < 2**16:
    raise ValueError(
      f"--coordinator is {address!r}, but must be HOST:PORT of the first "
      "process, such as node1:7788."
    )
  if local.process_id == 0:
    _gather(int(parts[2]), local, rules)
  else:
    _report(parts[1], int(parts[2]), local, rules)


def _gather(port: int, local: Caller, rules: Rules) -> None:
  end, present = time.monotonic() + rules.patience, {0: None}
  try:
    with _listening(port, rules) as server:
      while len(present) < local.processes:
        server.settimeout(max(0.01, end - time.monotonic()))
        try:
          line = server.accept()[0]
        except TimeoutError:
          raise Missing(_absent(local, present, rules)) from None
        caller = _heard(line)
        if caller is None:
          line.close()  # somebody else
        else:
          wrong = _wrong(local, caller, present)
          present[-1 if wrong else caller.process_id] = line
          if wrong:
            raise ValueError(wrong)
    verdict = []
  except ValueError as error:
    verdict = [str(error), isinstance(error, Missing)]
    raise
  finally:
    for line in filter(None, present.values()):
      with line:
        _send(line, verdict)


def _listening(port: int, rules: Rules) -> socket.socket:
  family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
  both = family == socket.AF_INET6
  try:
    return socket.create_server(
      ("", port), family=family, dualstack_ipv6=both, backlog=1024
    )
  except OSError as error:
    reason = os.strerror(error.errno) if error.errno else str(error)
    raise ValueError(
      f"cannot listen at port {port} ({reason}): {rules.busy}"
    ) from error


def _heard(line: socket.socket) -> Caller | None:
  line.settimeout(_READ)
  try:
    caller = Caller(**json.loads(line.recv(_MOST)))
  except (OSError, TypeError, ValueError):
    return None
  return caller if all(type(number) is int for number in caller) else None


def _wrong(local: Caller, caller: Caller, present: dict) -> str:
  if caller.processes != local.processes:
    return (
      f"process 0 has --processes={local.processes}, but process "
      f"{caller.process_id} has --processes={caller.processes}: give all the "
      "same."
    )
  if caller.process_id in present:
    return (
      f"two processes have --process_id={caller.process_id}: give each its "
      f"own, from 0 to {local.processes - 1}."
    )
  return ""


def _absent(local: Caller, present: dict, rules: Rules) -> str:
  missing = sorted(set(range(local.processes)) - present.keys())
  return (
    f"only {len(present)} of {local.processes} processes have come, not "
    f"process {missing[0]}: {rules.late}"
  )


def _report(host: str, port: int, local: Caller, rules: Rules) -> None:
  end = time.monotonic() + rules.patience
  line = _reached(host, port, end, rules)
  with line:
    line.settimeout(max(0.01, end - time.monotonic()) + _READ)
    try:
      _send(line, local._asdict())
      verdict = json.loads(line.recv(_MOST))
    except (OSError, ValueError):
      verdict = None
  if verdict == []:
    return
  if isinstance(verdict, list) and len(verdict) == 2:
    text, missing = verdict
    raise Missing(text) if missing else ValueError(text)
  raise Missing(
    f"process 0 has not answered at {host}:{port}: it has ended, or another "
    "program listens there: start all processes again, with another port."
  )


def _reached(host: str, port: int, end: float, rules: Rules) -> socket.socket:
  while True:
    try:
      return socket.create_connection((host, port), timeout=_READ)
    except (socket.gaierror, UnicodeError) as error:
      if rules.known:
        raise ValueError(
          f"--coordinator names the host {host!r}, which is unknown here: give "
          "the name or address of the first process's machine."
        ) from error
      failed = error
    except OSError as error:
      failed = error
    if time.monotonic() > end:
      raise Missing(
        f"process 0 is not at {host}:{port}: {rules.late}"
      ) from failed
    time.sleep(0.1)


def _send(line: socket.socket, value: object) -> None:
  try:
    line.sendall(json.dumps(value).encode())
  except OSError:
    pass  # it has ended
