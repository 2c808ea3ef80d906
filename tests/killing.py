"""Ends a run at random moments and checks that it ends as if it had not been.

    uv run python tests/killing.py --kills 20 --early 8

Every start gets an epoch further, so the run may be finished after fewer kills.
It is killed and, in turn, told to stop; before that, `--early` times, while it
starts up. Here it is asked what defenses leave behind as well; the suite does
the same with two kills and fewer epochs, and asks nothing.
"""

import argparse
import itertools
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).parent.parent
ENDS = {  # signals, and the exit status that each may have
  signal.SIGKILL: -signal.SIGKILL,
  signal.SIGINT: 130,
  signal.SIGTERM: 75,
  signal.SIGHUP: 129,
}
HEARD = (  # nohup and background shells have signals ignored from the start
  "import os, signal, sys\n"
  "for number in (signal.SIGINT, signal.SIGHUP):\n"
  "  signal.signal(number, signal.SIG_DFL)\n"
  "os.execv(sys.argv[1], sys.argv[1:])"
)
TIMES = ("finished", "device_hours", "seconds")  # what any two runs differ in
COMMAND = [
  *(sys.executable, "-m", "bdjax.launch"),
  *("--config", "configs/quickstart.py", "--save_seconds=0"),
  *("--config.data.train_images=400", "--config.data.test_images=200"),
  *("--config.model.width=4", "--config.train.epochs=4"),
  *("--config.attack.name=badnets", "--config.defense.name=super_ft"),
  *("--config.defense.epochs=2", "--config.defense.batch_size=16"),
  *("--config.evaluate.curve_images=100", "--config.seeds=(0,)"),
]


LONGER = (
  *("--config.train.epochs=6", "--config.defense.epochs=4"),
  "--config.sequela.name=membership(epochs=3),"
  "retuning(epochs=3,batch_size=8),reinjection(epochs=3,batch_size=8)",
)
LOGS = ("results.jsonl", "sequela.jsonl")


def start(workdir: Path | str, *more: str) -> subprocess.Popen:
  return subprocess.Popen(
    [sys.executable, "-c", HEARD, *COMMAND, f"--workdir={workdir}", *more],
    cwd=TOP,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def finish(process: subprocess.Popen) -> None:
  said, _ = process.communicate()
  if process.returncode:
    raise RuntimeError(f"the run ended with {process.returncode}: {said}")


def rows(workdir: Path, name: str) -> list[dict]:
  path = workdir / name
  lines = path.read_text().splitlines() if path.exists() else []
  return [json.loads(line) for line in lines]


def measured(row: dict) -> dict:
  return {k: v for k, v in row.items() if not k.startswith(TIMES)}


def outcome(workdir: Path) -> dict[str, dict]:
  records = [record for name in LOGS for record in rows(workdir, name)]
  found = {record["cell"]: measured(record) for record in records}
  assert len(found) == len(records), "a cell was recorded twice"
  return found


def curve(workdir: Path) -> dict[tuple, dict]:
  return {
    (r["cell"], r["stage"], r["epoch"]): measured(r)
    for r in rows(workdir, "curves.jsonl")
  }


def progress(workdir: Path) -> set[str]:
  """Returns what a run has saved so far: it changes with every epoch."""
  return {str(p) for p in workdir.glob("stages/*/*/*")}


def wait_for_more(process: subprocess.Popen, workdir: Path) -> None:
  """Returns when a run has saved an epoch more, or has ended."""
  before = progress(workdir)
  while process.poll() is None and progress(workdir) <= before:
    time.sleep(0.01)


def uninterrupted(workdir: Path, *more: str) -> tuple[float, float]:
  """Runs once; returns the seconds to the first saved epoch, and from it on."""
  begin = time.monotonic()
  process = start(workdir, *more)
  wait_for_more(process, workdir)
  saved = time.monotonic()
  finish(process)
  return saved - begin, time.monotonic() - saved


def end(process: subprocess.Popen, number: int, seconds: float) -> bool:
  """Signals a run after some seconds; returns False if it has ended before."""
  try:
    process.communicate(timeout=seconds)
    return False
  except subprocess.TimeoutExpired:
    pass
  process.send_signal(number)
  said, _ = process.communicate()
  line = said.strip().splitlines()[-1] if said.strip() else ""
  name = signal.Signals(number).name
  print(f"{name} after {seconds:.2f} s: {process.returncode}, {line!r}")
  # Or the run was at its end.
  assert process.returncode in (0, ENDS[number]), said
  return True


def killed_often(
  workdir: Path, kills: int, longest: float, rng: random.Random, *more: str
) -> int:
  """Kills a run up to `kills` times, lets it finish, and counts the kills.

  Each start gets at least one epoch further, whatever else the machine does,
  and is killed a random while later.
  """
  hits, ends = 0, itertools.cycle(ENDS)
  while hits < kills:
    process = start(workdir, *more)
    wait_for_more(process, workdir)
    if not end(process, next(ends), rng.uniform(0, 1) * longest):
      break  # it was faster: there is nothing left to kill
    hits += 1
  finish(start(workdir, *more))
  return hits


def compare(
  folder: Path, kills: int, *more: str, early: int = 0, seed: int = 0
) -> int:
  """Returns how many kills hit a run that ended as the uninterrupted one."""
  ready, rest = uninterrupted(folder / "whole", *more)
  rng, ends = random.Random(seed), itertools.cycle(ENDS)
  for _ in range(early):  # Python's own effect, until it has loaded a module
    moment = rng.uniform(0.5, max(1.0, ready))
    end(start(folder / "killed", *more), next(ends), moment)
  # Half, since the others find their programs compiled.
  longest = rest / 2 / (kills + 2)
  hits = killed_often(folder / "killed", kills, longest, rng, *more)
  assert outcome(folder / "killed") == outcome(folder / "whole")
  assert curve(folder / "killed") == curve(folder / "whole")
  assert not list((folder / "killed").glob("stages/*")), "stages are left"
  return early + hits


if __name__ == "__main__":
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--kills", type=int, default=20)
  parser.add_argument("--early", type=int, default=8)
  parser.add_argument("--seed", type=int, default=0)
  given = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    where = Path(folder)
    hits = compare(
      where, given.kills, *LONGER, early=given.early, seed=given.seed
    )
  print(f"{hits} kills hit the run; metrics and curves are the same to the bit")
