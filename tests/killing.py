"""Ends a run at random moments and checks that it ends as if it had not been.

    uv run python tests/killing.py --kills 20

Every start gets an epoch further, so the run may be finished after fewer kills.
It is killed and, in turn, told to stop. The suite does the same with two.
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
SAME = ("ca", "asr", "asr_incl", "ra", "der", "ca_before", "asr_before")
COMMAND = [
  *(sys.executable, "-m", "bdjax.launch"),
  *("--config", "configs/quickstart.py", "--save_seconds=0"),
  *("--config.data.train_images=400", "--config.data.test_images=200"),
  *("--config.model.width=4", "--config.train.epochs=6"),
  *("--config.attack.name=badnets", "--config.defense.name=ft,super_ft"),
  *("--config.defense.epochs=4", "--config.defense.batch_size=16"),
  *("--config.evaluate.curve_images=100", "--config.seeds=(0,)"),
]


def start(workdir: Path) -> subprocess.Popen:
  return subprocess.Popen(
    [*COMMAND, f"--workdir={workdir}"],
    cwd=TOP,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def finish(process: subprocess.Popen) -> None:
  said, _ = process.communicate()
  if process.returncode:
    raise RuntimeError(f"the run ended with {process.returncode}: {said}")


def outcome(workdir: Path) -> dict[str, dict[str, float]]:
  lines = (workdir / "results.jsonl").read_text().splitlines()
  records = [json.loads(line) for line in lines]
  found = {r["cell"]: {k: r[k] for k in SAME} for r in records}
  assert len(found) == len(records), "a cell was recorded twice"
  return found


def curve(workdir: Path) -> dict[tuple, tuple]:
  lines = (workdir / "curves.jsonl").read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  return {
    (r["cell"], r["stage"], r["epoch"]): (r["loss"], r["lr"], r.get("asr"))
    for r in rows
  }


def progress(workdir: Path) -> set[str]:
  """Returns what a run has saved so far: it changes with every epoch."""
  return {str(p) for p in workdir.glob("stages/*/*/*")}


def wait_for_more(process: subprocess.Popen, workdir: Path) -> None:
  """Returns when a run has saved an epoch more, or has ended."""
  before = progress(workdir)
  while process.poll() is None and progress(workdir) <= before:
    time.sleep(0.01)


def uninterrupted(workdir: Path) -> float:
  """Runs once, and returns the seconds from the first saved epoch on."""
  process = start(workdir)
  wait_for_more(process, workdir)
  begin = time.monotonic()
  finish(process)
  return time.monotonic() - begin


def killed_often(workdir: Path, kills: int, longest: float, seed: int) -> int:
  """Kills a run up to `kills` times, lets it finish, and counts the kills.

  Each start gets at least one epoch further, whatever else the machine does,
  and is killed a random while later.
  """
  rng, hits, ends = random.Random(seed), 0, itertools.cycle(ENDS)
  while hits < kills:
    process = start(workdir)
    wait_for_more(process, workdir)
    try:
      process.wait(rng.uniform(0, 1) * longest)
      process.communicate()
      break  # it was faster: there is nothing left to kill
    except subprocess.TimeoutExpired:
      number = next(ends)
      process.send_signal(number)
      hits += 1
      said, _ = process.communicate()
      # Some is ignored by what starts this; or the run was at its end.
      assert process.returncode in (0, ENDS[number]), said
  finish(start(workdir))
  return hits


def compare(folder: Path, kills: int, seed: int = 0) -> int:
  """Returns how many kills hit a run that ended as the uninterrupted one."""
  # Half, since the others find their programs compiled.
  longest = uninterrupted(folder / "whole") / 2 / (kills + 2)
  hits = killed_often(folder / "killed", kills, longest, seed)
  assert outcome(folder / "killed") == outcome(folder / "whole")
  assert curve(folder / "killed") == curve(folder / "whole")
  assert not list((folder / "killed").glob("stages/*")), "stages are left"
  return hits


if __name__ == "__main__":
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--kills", type=int, default=20)
  parser.add_argument("--seed", type=int, default=0)
  options = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    hits = compare(Path(folder), options.kills, options.seed)
  print(f"{hits} kills hit the run; metrics and curves are the same to the bit")
