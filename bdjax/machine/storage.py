"""Where files lie: in a local folder, or in a bucket of Google Cloud Storage.

A bucket keeps whole objects: there is no append and no rename, and an object
that is there is whole. What a run needs is therefore said in these words, which
mean the same in both. Only gs:// is a bucket, since Orbax, which keeps the
models, knows no other; every other scheme is refused, so that none becomes a
local folder of that name.
"""

import contextlib
import errno
import functools
import importlib.util
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, ParamSpec, TypeVar

from etils import epath

from bdjax.machine.faults import Fault, faults

P, T = ParamSpec("P"), TypeVar("T")
Place = Path | epath.Path
GS = "gs://"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+-]*:/")
_WHOLE = "commit_success.txt"  # what Orbax writes last into a bucket
_READERS = 32  # requests at a time: each waits for the network


def _guarded(doing: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
  """Has what the system refuses raised as a `Fault` that names the path."""

  def decorate(function):
    @functools.wraps(function)
    def call(path, *args, **options):
      with faults(path, doing, all_are=remote(path)):
        return function(path, *args, **options)

    return call

  return decorate


def place(path: str | os.PathLike[str]) -> Place:
  """Returns where a user's path leads, and asks whether it can be reached.

  Raises:
    ValueError: it is neither a local path nor gs://BUCKET/..., the packages for
      it are not installed, or the bucket does not let this user in.
  """
  text = os.fspath(path)
  if not _SCHEME.match(text):
    return Path(text)
  if not re.match(r"gs://[^/]", text):
    raise ValueError(
      f"{text} is neither a local folder nor gs://BUCKET/FOLDER, and runs are "
      "kept nowhere else, since Orbax writes models to no other; give one."
    )
  if importlib.util.find_spec("gcsfs") is None:
    raise ValueError(
      f"{text} is in a bucket, which needs gcsfs: run `uv sync --extra gcs`, "
      "and give --extra gcs to `uv run` as well."
    )
  root = epath.Path(text)
  try:
    names(root)
  except Fault as error:
    raise ValueError(
      f"cannot reach {text} ({error.reason}); log in with `gcloud auth "
      "application-default login`, or give a folder that you may read."
    ) from error
  return root


def local(path: str | os.PathLike[str], what: str) -> Path:
  """Returns a path that must be local.

  Raises:
    ValueError: it has a scheme; `what` says which setting it is.
  """
  text = os.fspath(path)
  if _SCHEME.match(text):
    raise ValueError(
      f"{what} is {text}, but must be a local path; only a workdir and a store "
      "of models may lie in a bucket: copy it here first."
    )
  return Path(text)


def cache(name: str) -> Path:
  """Returns where something may be kept between runs; it may not exist.

  It is in $XDG_CACHE_HOME or else ~/.cache. As its specification says, a path
  that is not absolute is ignored: it would be another one in every folder.

  Args:
    name: of a file or folder.
  """
  home = Path(os.environ.get("XDG_CACHE_HOME", ""))
  home = home if home.is_absolute() else Path.home() / ".cache"
  return home / "bdjax" / name


def remote(path: Place) -> bool:
  """Returns whether a place is in a bucket."""
  return os.fspath(path).startswith(GS)


def absolute(path: Place) -> Place:
  """Returns a place that does not depend on the current folder."""
  return path if remote(path) else path.absolute()


@_guarded("read")
def names(folder: Place) -> list[str]:
  """Returns what lies directly in a folder, in order; nothing if it is not."""
  try:
    if not remote(folder):
      return sorted(os.listdir(folder))
    paths = map(PurePosixPath, _client().ls(os.fspath(folder), detail=False))
  except (FileNotFoundError, NotADirectoryError):
    return []
  depth = len(folder.parts) - 1  # without gs:, and without an empty folder
  return sorted(path.name for path in paths if len(path.parts) == depth)


@_guarded("read")
def read(path: Place) -> bytes | None:
  """Returns a file's content, or None if there is no such file."""
  try:
    if not remote(path):
      return path.read_bytes()
    return _client().cat_file(os.fspath(path))
  except (FileNotFoundError, NotADirectoryError):
    return None


def regular(path: Path) -> BinaryIO:
  """Opens a local file to read it; no pipe or device, which may not end."""
  descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # nor wait for one
  if stat.S_ISREG(os.fstat(descriptor).st_mode):
    return open(descriptor, "rb")
  os.close(descriptor)
  raise OSError(errno.EINVAL, "it is no regular file", os.fspath(path))


def read_all(paths: Iterable[Place]) -> list[bytes | None]:
  """Returns files' contents as `read` does, many at a time."""
  with ThreadPoolExecutor(_READERS) as pool:
    return list(pool.map(read, paths))


@_guarded("write")
def write(path: Place, content: str | bytes) -> Place:
  """Writes a file so that a kill leaves the old one or the new one."""
  content = content.encode() if isinstance(content, str) else content
  if remote(path):
    _client().pipe_file(os.fspath(path), content)
    return path
  with replacing(path) as temporary:
    temporary.write_bytes(content)
  return path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
  """Yields a file to write; it becomes a local one at once, unless this fails.

  It lies beside `path` under a new name of its own, so that no reader and no
  other writer ever sees half a file, and no planted link is followed.
  """
  temporary = _beside(path)
  try:
    yield temporary
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)


def probe(path: Path) -> None:
  """Raises OSError if `replacing` could not write a local file."""
  _beside(path).unlink()


def _beside(path: Path) -> Path:
  temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
  os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
  return temporary


@_guarded("write")
def make(folder: Place) -> None:
  """Makes a folder to write into; in a bucket, asks whether one may.

  Raises:
    Fault: it cannot be made, or the account may not see the bucket itself.
  """
  if remote(folder):
    _show_bucket(folder.parts[2])
  else:
    folder.mkdir(parents=True, exist_ok=True)


@_guarded("write")
def remove(folder: Place) -> None:
  """Removes a folder and all in it, if it is there.

  A kill meanwhile leaves no part of it that could be taken for the whole.
  """
  with contextlib.suppress(FileNotFoundError):
    if not remote(folder):
      gone = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
      folder.rename(gone)
      shutil.rmtree(gone, ignore_errors=True)
      return
    if committed(folder):
      _client().rm(os.fspath(folder / _WHOLE))
    _client().rm(os.fspath(folder), recursive=True)


def set_aside(path: Place) -> Place:
  """Moves a damaged folder or file away, and returns where it lies now."""
  others = set(names(path.parent))
  count = 1
  while (name := f"{path.name}.damaged-{count}") in others:
    count += 1
  aside = path.with_name(name)
  with faults(path, "move", all_are=remote(path)):
    if not remote(path):
      path.rename(aside)
      return aside
    for part in _client().find(os.fspath(path)):  # a bucket renames nothing
      rest = f"{GS}{part}".removeprefix(os.fspath(path))
      _client().pipe_file(f"{aside}{rest}", _client().cat_file(part))
  remove(path)
  return aside


def committed(folder: Place) -> bool:
  """Returns whether Orbax has finished writing a folder of a bucket.

  Asked of Orbax, it takes some 25 requests; this is one.
  """
  return read(folder / _WHOLE) is not None


@functools.cache
def _show_bucket(name: str) -> None:
  """Asks what a save by Orbax asks, where a refusal ends in a timeout."""
  from google.cloud import storage

  try:
    storage.Client().get_bucket(name)
  except Exception as error:
    raise OSError(
      f"a save asks for the bucket, so allow storage.buckets.get: {error}"
    ) from error


@functools.cache
def _client() -> Any:
  """Returns what speaks to buckets, as epath does for Orbax.

  Asked directly, a file is one request and not four.
  """
  import fsspec

  # TensorFlow, if it is there, may lack the part for buckets.
  os.environ.setdefault("EPATH_USE_TF", "false")
  # What another process has written must be seen.
  fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False
  return fsspec.filesystem("gcs")
