"""What a run ran on and with: recorded beside every result."""

import functools
import hashlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "numpy")
# What asks for results, or reads them.
ASIDE = ("actions.py", "analysis", "aot", "archive", "bench", "cleanse")
ASIDE += ("cli", "estimate", "launch.py", "report", "study")


def describe() -> dict[str, Any]:
  """Returns device, versions and code as flat, JSON-able values."""
  device = jax.devices()[0]
  facts = {
    "device": device.device_kind,
    "platform": device.platform,
    "devices": jax.device_count(),
    "host_cores": len(os.sched_getaffinity(0))
    if hasattr(os, "sched_getaffinity")
    else os.cpu_count(),
    "version_bdjax": _version("bdjax"),
    "version_python": platform.python_version(),
    "git": revision(),
    "code": code(),
  }
  return facts | {
    f"version_{p.replace('-', '_')}": _version(p) for p in PACKAGES
  }


def revision() -> str:
  """Returns the checkout's git revision, with + if the code is not its, or "".

  Files of the package that git does not know count: a new method is one.
  """
  here = Path(__file__).parent
  try:
    head = _git(here, "rev-parse", "--short=12", "HEAD")
    changed = _git(here, "status", "--porcelain", "--untracked-files=no")
    changed += _git(here.parent, "status", "--porcelain", ".")
  except (OSError, subprocess.CalledProcessError):
    return ""
  return head + ("+" if changed else "")


@functools.cache
def code(
  methods: tuple[str, ...] | None = None, rooms: tuple[str, ...] = ()
) -> str:
  """Returns a digest of the package's Python files, as they were when asked.

  Args:
    methods: files of the methods that decided a result, "attacks/badnets.py";
      other methods' are left out then, and rooms that no result depends on.
      None takes all files.
    rooms: that methods lie in.
  """
  digest = hashlib.sha256()
  for name, content in _files(Path(__file__).parent.parent).items():
    if methods is None or _decides(name, methods, rooms):
      digest.update(f"{name}\n{content}\n".encode())
  return digest.hexdigest()[:12]


@functools.cache
def _files(package: Path) -> dict[str, str]:
  """Returns a digest of each Python file, by name, as they are at first."""
  return {
    path.relative_to(package).as_posix(): hashlib.sha256(
      path.read_bytes()
    ).hexdigest()
    for path in sorted(package.rglob("*.py"))
  }


def _decides(
  name: str, methods: tuple[str, ...], rooms: tuple[str, ...]
) -> bool:
  room, _, file = name.partition("/")
  if room in rooms and file and not file.startswith("_"):
    return "/" in file or name in methods
  return room not in ASIDE


def _git(folder: Path, *args: str) -> str:
  done = subprocess.run(
    ["git", *args], cwd=folder, capture_output=True, text=True, check=True
  )
  return done.stdout.strip()


def _version(package: str) -> str:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return ""
