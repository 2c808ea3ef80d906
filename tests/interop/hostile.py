"""Hostile and malformed files by name, and what the readers say of each.

    python tests/interop/hostile.py docs/hostile.md

gives each to the real reader in a process of its own, and writes a page: what
was said, the memory that it took at its peak beyond what the process had taken
when it began to read, and the time. It fails if anything but a sentence comes
of one, if code was run, or if memory exceeds `BOUNDS`. Linux only.
"""

import ctypes
import json
import multiprocessing
import platform
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from bdjax.cleanse import folders, pictures, suspect

sys.path.insert(0, str(Path(__file__).parent))
import hostile_archives as archives
import hostile_images as images
import hostile_pickles as pickles
import hostile_weights as weights

ARCH = "preact_resnet18"
CALLS = (  # what a reader has no reason to do, as Python's audit names it
  *("os.exec", "os.fork", "os.posix_spawn", "os.system", "subprocess.Popen"),
  *("pickle.find_class", "socket.connect", "ctypes.dlopen"),
)
MIB = 2**20
# MiB at the peak. Pillow keeps up to 64 of an image's comments.
BOUNDS = {"large images": 400, "images": 96}
BOUND = 64  # of all others
PATIENCE = 120  # seconds
PAGE = """---
orphan: true
---

# What is said of hostile and damaged files

`cleanse` and the readers beneath it refuse a file that they cannot use with
one sentence. Each row is a file that `{script}` makes, what
is said of it, the memory that reading it took at the peak, beyond what the
process had taken before, and the seconds, which other work on the machine may
have lengthened; each in a process of its own (Python {python}). Nothing in any
of them was run: no file came or went, and Python's audit hooks saw none of
{calls}.

{count} files; the most that a refused model took is {model:.0f} MiB, a refused
image {image:.0f} MiB, and an image of 16.7 million pixels, which is read,
{large:.0f} MiB. The script fails above {bound}, {BOUNDS[images]} and
{BOUNDS[large images]} MiB.

| file | answer | MiB | seconds |
|---|---|--:|--:|
{rows}
"""


class Case(NamedTuple):
  """A file, or a few that belong together.

  Attributes:
    make: writes it into an empty folder; returns its bytes, to be written as a
      model's, or the path that a user would give.
    reader: a name in `READERS`.
    quick: whether it takes less than a tenth of a second.
    sound: whether it is read, though it is large.
    warm: whether it makes the process use jax, which takes memory itself; one
      that does reads a sound model before it is measured.
  """

  make: Callable[[Path], bytes | Path]
  reader: str
  quick: bool = True
  sound: bool = False
  warm: bool = False


def read_model(path: Path, arch: str | None = ARCH) -> None:
  found = suspect.load(path, arch=arch, flags={})
  suspect.shape(found, None)
  suspect.build(found, None)


def read_images(path: Path) -> None:
  files, _, _ = folders.clean(path, num_classes=2)
  pictures.read(files.paths, (8, 8, 3))
  folders.common_shape(files.paths)


def read_large(path: Path) -> None:
  files, _, _ = folders.clean(path, num_classes=2)
  pictures.read(files.paths, (8, 8, 3))


def read_triggered(path: Path) -> None:
  files = folders.suspicious(path, ("a", "b"))
  pictures.read(files.paths, (8, 8, 3))


def read_names(path: Path) -> None:
  folders.names_in(path)


READERS = {
  "model": read_model,
  "unnamed model": lambda path: read_model(path, None),
  "images": read_images,
  "large images": read_large,
  "suspected images": read_triggered,
  "names": read_names,
}


def _all() -> dict[str, Case]:
  made = {}
  for some, reader, more in (
    (pickles.RUNS, "model", {}),
    (pickles.SENSELESS, "model", {}),
    (pickles.GREEDY, "model", {"quick": False}),
    (pickles.SLOW, "model", {"quick": False}),
    (archives.ZIPS, "model", {}),
    (archives.TENSORS, "model", {}),
    (weights.WEIGHTS, "model", {"warm": True}),
    (weights.UNNAMED, "unnamed model", {}),
    (weights.SLOW, "model", {"quick": False, "warm": True}),
    (weights.SIDECARS, "model", {"warm": True}),
    (weights.SAFETENSORS, "model", {}),
    (weights.SHARDS, "model", {}),
    (weights.OTHERS, "model", {}),
    (images.IMAGES, "images", {}),
    (images.FOLDERS, "images", {}),
    (images.TRIGGERED, "suspected images", {}),
    (images.NAMES, "names", {}),
    (images.LARGE, "large images", {"quick": False, "sound": True}),
  ):
    assert not made.keys() & some.keys()
    made |= {name: Case(make, reader, **more) for name, make in some.items()}
  return made


CASES = _all()
Image.init()  # Pillow's own modules are no file's fault


def write(case: Case, folder: Path) -> Path:
  """Writes a case into an empty folder; returns what to give the reader."""
  made = case.make(folder)
  if isinstance(made, Path):
    return made
  path = folder / "suspect.pt"
  path.write_bytes(made)
  return path


def answer(case: Case, path: Path, folder: Path) -> str | None:
  """Returns the sentence that a case is refused with, or None if it is read.

  Raises:
    AssertionError: files have come or gone, so code was run.
  """
  before = sorted(folder.rglob("*"))
  try:
    READERS[case.reader](path)
    said = None
  except ValueError as refusal:
    said = str(refusal)
  assert sorted(folder.rglob("*")) == before, "files have come or gone"
  return said


def sound_model(folder: Path) -> Path:
  """Writes a model that nothing is wrong with; returns its path."""
  return write(
    Case(weights.beside(json.dumps(weights.LEVELS)), "model"), folder
  )


def memory(field: str) -> int:
  """Returns VmRSS or VmHWM, in KiB."""
  lines = Path("/proc/self/status").read_text().splitlines()
  (found,) = (line.split()[1] for line in lines if line.startswith(field))
  return int(found)


def measure(name: str, warm: Path, folder: Path, path: Path) -> dict:
  """Reads one case in this process; returns what came of it."""
  case, events = CASES[name], []
  if case.warm:
    read_model(warm / "suspect.pt")
  sys.addaudithook(lambda event, _: event in CALLS and events.append(event))
  ctypes.CDLL(None).malloc_trim(0)
  events.clear()
  Path("/proc/self/clear_refs").write_text("5")  # forget the peak until now
  start, time_before = memory("VmRSS"), time.perf_counter()
  said = answer(case, path, folder)
  seconds = time.perf_counter() - time_before
  peak = (memory("VmHWM") - start) / 1024
  said = (said or "").replace(f"{folder}/", "").replace(str(folder), "FOLDER")
  return {"said": said, "peak": peak, "seconds": seconds, "events": events}


def run(name: str, warm: Path) -> dict:
  """Reads one case in a process of its own."""
  context = multiprocessing.get_context("fork")
  with tempfile.TemporaryDirectory() as top:
    path = write(CASES[name], Path(top))
    here, there = context.Pipe(duplex=False)
    given = name, warm, Path(top), path
    child = context.Process(target=lambda: there.send(measure(*given)))
    child.start()
    there.close()
    try:
      return here.recv() if here.poll(PATIENCE) else {"fault": "no answer"}
    except EOFError:
      return {"fault": "it died"}
    finally:
      child.kill()
      child.join()


def faults(name: str, found: dict) -> list[str]:
  """Returns what is wrong with what came of a case."""
  if "fault" in found:
    return [f"{name}: {found['fault']}"]
  case, bound = CASES[name], BOUNDS.get(CASES[name].reader, BOUND)
  wrong = []
  if bool(found["said"]) == case.sound or "\n" in found["said"]:
    wrong.append(f"{name}: said {found['said']!r}")
  if found["events"]:
    wrong.append(f"{name}: did {found['events']}")
  if found["peak"] > bound:
    wrong.append(f"{name}: took {found['peak']:.0f} MiB")
  return wrong


def row(name: str, found: dict) -> str:
  said = found["said"] or "*(is read)*"
  for mark in "\\`|<>*_[]":
    name = name.replace(mark, f"\\{mark}")
    said = said.replace(mark, f"\\{mark}") if found["said"] else said
  return f"| {name} | {said} | {found['peak']:.1f} | {found['seconds']:.2f} |"


def page(found: dict[str, dict]) -> str:
  peaks = {}
  for name, one in found.items():
    peaks.setdefault(CASES[name].reader, []).append(one["peak"])
  images, large = max(peaks.pop("images")), max(peaks.pop("large images"))
  return PAGE.format(
    script="tests/interop/hostile.py",
    python=platform.python_version(),
    calls="\n".join(textwrap.wrap(", ".join(CALLS), 80)),
    count=len(found),
    model=max(max(some) for some in peaks.values()),
    image=images,
    large=large,
    bound=BOUND,
    BOUNDS=BOUNDS,
    rows="\n".join(row(name, one) for name, one in found.items()),
  )


def main(out: Path) -> int:
  """Reads every case and writes the page; returns how many went wrong."""
  read, wrong = {}, []
  with tempfile.TemporaryDirectory() as top:
    sound_model(Path(top))
    for name in CASES:
      found = run(name, Path(top))
      print(name, found, flush=True)
      wrong += faults(name, found)
      if "fault" not in found:
        read[name] = found
  out.write_text(page(read))
  print(len(read), "cases; wrong:", wrong or "none")
  return len(wrong)


if __name__ == "__main__":
  sys.exit(bool(main(Path(sys.argv[1]))))
